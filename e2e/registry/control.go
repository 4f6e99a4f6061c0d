package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// Who may have what is below private/.
const (
	User     = "bob"
	Password = "of course"
)

// Fault is what the registry does wrong for some requests.
type Fault struct {
	Path   string // requests whose path holds this
	Skip   int    // how many of them go well before
	Times  int    // how many of them do not
	Status int    // answered instead of what was asked for; 0: the answer is spoilt
	After  int    // Retry-After, in seconds; 0 says nothing
	Cut    int    // bytes after which the answer breaks off; 0 changes a byte of it instead
}

// control stands before the registry: it counts, asks for credentials, and breaks what it was told to break.
type control struct {
	inner http.Handler
	token bool // credentials are asked for by a bearer challenge, for everything

	mu     *sync.Mutex
	counts map[string]int // by method and path
	faults *[]Fault
}

// Paths below which the tests speak to the registry itself.
const (
	countsPath = "/_counts"
	faultsPath = "/_faults"
	tokenPath  = "/_token"
)

// ServeHTTP implements http.Handler.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case countsPath:
		c.mu.Lock()
		defer c.mu.Unlock()
		_ = json.NewEncoder(w).Encode(c.counts) // a client that has gone hears nothing
	case faultsPath:
		c.addFault(w, r)
	case tokenPath:
		giveToken(w, r)
	default:
		c.serve(w, r)
	}
}

func (c *control) addFault(w http.ResponseWriter, r *http.Request) {
	var f Fault
	if err := json.NewDecoder(r.Body).Decode(&f); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.faults = append(*c.faults, f)
}

func (c *control) serve(w http.ResponseWriter, r *http.Request) {
	if !c.allowed(r) {
		challenge := `Basic realm="tests"`
		if c.token {
			challenge = fmt.Sprintf(`Bearer realm="http://%s%s",service="tests"`, r.Host, tokenPath)
		}
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	c.mu.Lock()
	c.counts[r.Method+" "+r.URL.Path]++
	if r.Header.Get("Range") != "" {
		c.counts["RANGE "+r.URL.Path]++
	}
	fault := c.takeFault(r)
	c.mu.Unlock()
	switch {
	case fault == nil:
		c.inner.ServeHTTP(w, r)
	case fault.Status != 0:
		if fault.After > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(fault.After))
		}
		w.WriteHeader(fault.Status)
	default:
		c.inner.ServeHTTP(&spoilt{ResponseWriter: w, cut: fault.Cut}, r)
	}
}

// takeFault finds the fault that is due. Callers hold mu.
func (c *control) takeFault(r *http.Request) *Fault {
	for i := range *c.faults {
		f := &(*c.faults)[i]
		if f.Times > 0 && r.Method == http.MethodGet && strings.Contains(r.URL.Path, f.Path) {
			if f.Skip > 0 {
				f.Skip--
				return nil
			}
			f.Times--
			return f
		}
	}
	return nil
}

// allowed looks at credentials where there is something to guard. Pushing is free.
func (c *control) allowed(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return true
	}
	if c.token {
		scope := ""
		if repo, ok := repository(r.URL.Path); ok {
			scope = "repository:" + repo + ":pull"
		}
		got, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return ok && (got == tokenFor(scope) || scope == "")
	}
	if !strings.HasPrefix(r.URL.Path, "/v2/private/") {
		return true
	}
	user, password, _ := r.BasicAuth()
	return user == User && password == Password
}

// repository is the name between /v2/ and what is asked of it.
func repository(path string) (string, bool) {
	rest := strings.TrimPrefix(path, "/v2/")
	for _, part := range []string{"/manifests/", "/blobs/"} {
		if repo, _, ok := strings.Cut(rest, part); ok {
			return repo, true
		}
	}
	return "", false
}

// giveToken is the token service: for a user's password, or for an identity token, one pull token for each scope.
func giveToken(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm() // what cannot be read is missing below
	user, password, _ := r.BasicAuth()
	if user == User && password == Password || r.PostForm.Get("refresh_token") == IdentityToken {
		scope := r.Form.Get("scope")
		_ = json.NewEncoder(w).Encode(map[string]string{"token": tokenFor(scope), "access_token": tokenFor(scope)})
		return
	}
	http.Error(w, "wrong credentials", http.StatusUnauthorized)
}

// IdentityToken stands for the user's password.
const IdentityToken = "an identity token"

func tokenFor(scope string) string {
	h := sha256.Sum256([]byte("token for " + scope))
	return hex.EncodeToString(h[:])
}

// spoilt breaks an answer off, or changes its first byte.
type spoilt struct {
	http.ResponseWriter
	cut, sent int
}

func (s *spoilt) Write(b []byte) (int, error) {
	if s.cut == 0 {
		changed := append([]byte(nil), b...)
		if s.sent == 0 && len(changed) > 0 {
			changed[len(changed)/2] ^= 0x10
		}
		s.sent += len(b)
		return s.ResponseWriter.Write(changed)
	}
	n, err := s.ResponseWriter.Write(b[:min(len(b), s.cut-s.sent)])
	if s.sent += n; s.sent >= s.cut {
		s.ResponseWriter.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}

// Client speaks to a registry from another process.
type Client struct{ URL string }

// Break tells the registry what to do wrong.
func (c Client) Break(f Fault) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	resp, err := http.Post(c.URL+faultsPath, "application/json", strings.NewReader(string(b)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the registry answers %s", resp.Status)
	}
	return nil
}

// Counts are the requests so far of those whose method and path hold all of the parts.
func (c Client) Counts(parts ...string) (map[string]int, error) {
	resp, err := http.Get(c.URL + countsPath)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	all := map[string]int{}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		return nil, err
	}
next:
	for path := range all {
		for _, p := range parts {
			if !strings.Contains(path, p) {
				delete(all, path)
				continue next
			}
		}
	}
	return all, nil
}

// Host is the registry's name in references.
func (c Client) Host() string {
	u, err := url.Parse(c.URL)
	if err != nil {
		return ""
	}
	return u.Host
}
