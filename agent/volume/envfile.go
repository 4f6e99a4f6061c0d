package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// envFileMax bounds a file of variables, in bytes.
const envFileMax = 64 << 10

// EnvKey reads the value that a file of an emptyDir volume gives a variable (KEP-3721). Found is false if the file or the variable in it is
// not there. The file is sought within the volume: links that a container made do not lead out of it.
func (s *Store) EnvKey(podUID, volume, path, key string) (value string, found bool, err error) {
	b, err := s.readFile(podUID, volume, path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading the file of variables %s: %w", filepath.Join(volume, path), err)
	}
	values, err := parseEnvFile(b)
	if err != nil {
		return "", false, fmt.Errorf("file of variables %s: %w", filepath.Join(volume, path), err)
	}
	value, found = values[key]
	return value, found, nil
}

func (s *Store) readFile(podUID, volume, path string) ([]byte, error) {
	root, err := os.OpenRoot(s.Dir(podUID, volume))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	st, err := root.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() { // a pipe would keep the pod's start waiting
		return nil, errors.New("it is no regular file")
	}
	f, err := root.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, envFileMax+1))
	if err == nil && len(b) > envFileMax {
		err = fmt.Errorf("it is larger than %d bytes", envFileMax)
	}
	return b, err
}

// parseEnvFile reads declarations of the form VAR='value', each beginning a line, between blank lines and comments. The value is what stands
// between the quotes, line breaks included. Of two declarations of a variable the later holds.
func parseEnvFile(b []byte) (map[string]string, error) {
	values := map[string]string{}
	line := 1
	for len(b) > 0 {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			end = len(b)
		}
		if text := bytes.TrimSpace(b[:end]); len(text) == 0 || text[0] == '#' {
			b, line = b[min(end+1, len(b)):], line+1
			continue
		}
		key, value, rest, err := declaration(b)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		values[key] = value
		line += bytes.Count(b[:len(b)-len(rest)], []byte{'\n'})
		b = rest
	}
	return values, nil
}

// declaration reads one, and returns what comes after its line.
func declaration(b []byte) (key, value string, rest []byte, err error) {
	before, after, found := bytes.Cut(b, []byte{'='})
	key = strings.Trim(string(before), " \t")
	if !found || strings.Contains(key, "\n") {
		return "", "", nil, errors.New("it must have the form VAR='value'")
	}
	if err := checkEnvKey(key); err != nil {
		return "", "", nil, err
	}
	after = bytes.TrimLeft(after, " \t")
	if len(after) == 0 || after[0] != '\'' {
		return "", "", nil, fmt.Errorf("the value of %s must be in single quotes", key)
	}
	quoted, after, found := bytes.Cut(after[1:], []byte{'\''})
	if !found {
		return "", "", nil, fmt.Errorf("the value of %s has no closing quote", key)
	}
	tail, rest, _ := bytes.Cut(after, []byte{'\n'})
	if len(bytes.TrimSpace(tail)) > 0 {
		return "", "", nil, fmt.Errorf("nothing may follow the closing quote of %s", key)
	}
	return key, string(quoted), rest, nil
}

func checkEnvKey(key string) error {
	if key == "" {
		return errors.New("a variable has no name")
	}
	for _, c := range []byte(key) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("the name %q has a character that is not printable ASCII", key)
		}
	}
	return nil
}
