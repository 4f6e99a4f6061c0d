package audit

import (
	"fmt"
	"os"
	"path/filepath"
)

// file is appended to until it is large, then put aside as NAME.1, NAME.2 and so on, the oldest with the highest number. It holds whole
// lines only: what could be written but in part is taken back.
type file struct {
	path string
	most int64
	kept int

	f    *os.File // nil after a fault; the next write opens it again
	size int64
}

func openFile(path string, most int64, kept int) (*file, error) {
	f := &file{path: path, most: most, kept: kept}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	return f, f.open()
}

func (f *file) open() error {
	o, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := o.Stat()
	if err != nil {
		o.Close()
		return err
	}
	f.f, f.size = o, info.Size()
	return nil
}

func (f *file) write(lines []byte) error {
	if f.f == nil {
		if err := f.open(); err != nil {
			return err
		}
	}
	if f.size > 0 && f.size+int64(len(lines)) > f.most {
		if err := f.putAside(); err != nil {
			return err
		}
	}
	n, err := f.f.Write(lines)
	if err == nil {
		f.size += int64(n)
		return nil
	}
	if n > 0 {
		if cut := f.f.Truncate(f.size); cut != nil {
			err = fmt.Errorf("%w, and half a line stays: %w", err, cut)
		}
	}
	f.close()
	return err
}

// putAside renames the files, the oldest over what there was.
func (f *file) putAside() error {
	f.close()
	for n := f.kept; n > 0; n-- {
		from := fmt.Sprintf("%s.%d", f.path, n-1)
		if n == 1 {
			from = f.path
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", f.path, n)); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	if f.kept == 0 {
		if err := os.Remove(f.path); err != nil {
			return err
		}
	}
	return f.open()
}

func (f *file) close() {
	if f.f != nil {
		_ = f.f.Close() // what was written is written
		f.f = nil
	}
}
