package image

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
)

// rights note which credentials a registry has accepted for which image, so that an image which one pod's secret
// brought to the node is not given to a pod without it (KEP-2535, with its policy NeverVerifyPreloadedImages:
// an image that no registry gave, as one loaded from an archive, is everybody's).
type rights struct {
	Salt   []byte                       // so that the file does not help to guess passwords
	Images map[string]map[string]*right // by image ID and repository
}

// right is who may use an image under a repository's name.
type right struct {
	Open bool     `json:",omitempty"` // the registry gave it to a stranger
	Keys []string `json:",omitempty"` // of accepted credentials, sorted
}

const rightsFile = "rights.json"

func (s *Store) readRights() error {
	s.rights = rights{Images: map[string]map[string]*right{}}
	raw, err := os.ReadFile(s.path(rightsFile))
	if errors.Is(err, os.ErrNotExist) {
		s.rights.Salt = make([]byte, sha256.Size)
		_, err := rand.Read(s.rights.Salt)
		return err
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &s.rights); err != nil || s.rights.Images == nil {
		return fmt.Errorf("%s is damaged (remove the directory to start afresh): %w", rightsFile, err)
	}
	return nil
}

// MayUse says whether the holder of these credentials may use the image under ref without asking its registry.
func (s *Store) MayUse(i *Image, ref string, auths []authn.Authenticator) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	known, pulled := s.rights.Images[i.ID]
	if !pulled {
		return true
	}
	r, err := parse(ref)
	if err != nil { // an ID, which names no repository
		return len(known) == 0
	}
	have := known[repository(r)]
	if have == nil {
		return false
	}
	return have.Open || slices.ContainsFunc(auths, func(a authn.Authenticator) bool {
		key, ok := s.rights.key(a)
		return ok && slices.Contains(have.Keys, key)
	})
}

// grant notes that a registry has given the image for this credential. It is durable before the image gets its
// name: else a crash in between would leave an image that looks as if nobody had pulled it.
func (s *Store) grant(id, repository string, a authn.Authenticator) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	of := s.rights.Images[id]
	if of == nil {
		of = map[string]*right{}
	}
	have := of[repository]
	if have == nil {
		have = &right{}
	}
	next := right{Open: have.Open, Keys: slices.Clone(have.Keys)}
	if key, ok := s.rights.key(a); !ok {
		next.Open = true
	} else if !slices.Contains(next.Keys, key) {
		next.Keys = append(next.Keys, key)
		slices.Sort(next.Keys)
	}
	if next.Open == have.Open && len(next.Keys) == len(have.Keys) {
		return nil
	}
	of[repository] = &next
	s.rights.Images[id] = of
	return s.writeRights()
}

// writeRights makes the rights durable. Callers hold mu.
func (s *Store) writeRights() error {
	raw, err := json.Marshal(&s.rights)
	if err != nil {
		return err
	}
	return s.writeFile(s.path(rightsFile), raw)
}

// forgetRights drops what is known of images that have gone. Callers hold mu.
func (s *Store) forgetRights(images map[string]*Image) error {
	changed := false
	for id := range s.rights.Images {
		if images[id] == nil {
			delete(s.rights.Images, id)
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return s.writeRights()
}

// key stands for a credential; false for a stranger, who has none.
func (r *rights) key(a authn.Authenticator) (string, bool) {
	c, err := a.Authorization()
	if err != nil || *c == (authn.AuthConfig{}) {
		return "", false
	}
	b, _ := json.Marshal(c) // a struct of strings always encodes
	m := hmac.New(sha256.New, r.Salt)
	m.Write(b)
	return hex.EncodeToString(m.Sum(nil)), true
}
