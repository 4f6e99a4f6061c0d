package image

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// dockerAuth is one registry's entry in a docker configuration.
type dockerAuth struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"` // base64 of username:password
	IdentityToken string `json:"identitytoken"`
	RegistryToken string `json:"registrytoken"`
}

// Credentials picks from docker configurations (the content of imagePullSecrets, .dockerconfigjson or
// the older .dockercfg) what fits the reference's registry and repository, the most specific first.
func Credentials(ref string, configs ...[]byte) ([]authn.Authenticator, error) {
	r, err := parse(ref)
	if err != nil {
		return nil, err
	}
	type match struct {
		pattern string
		auth    dockerAuth
	}
	var found []match
	for _, raw := range configs {
		auths, err := dockerAuths(raw)
		if err != nil {
			return nil, err
		}
		for pattern, a := range auths {
			if p := bare(pattern); matches(p, registryOf(r), r.Context().RepositoryStr()) {
				found = append(found, match{p, a})
			}
		}
	}
	slices.SortStableFunc(found, func(a, b match) int {
		return cmp.Or(cmp.Compare(len(b.pattern), len(a.pattern)), strings.Compare(a.pattern, b.pattern))
	})
	var out []authn.Authenticator
	for _, m := range found {
		a, err := m.auth.authenticator()
		if err != nil {
			return nil, fmt.Errorf("credentials for %s: %w", m.pattern, err)
		}
		out = append(out, a)
	}
	return out, nil
}

func dockerAuths(raw []byte) (map[string]dockerAuth, error) {
	var file struct {
		Auths map[string]dockerAuth `json:"auths"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("reading a docker configuration: it is not JSON of the form {\"auths\": {\"REGISTRY\": {...}}}") // its text may hold secrets
	}
	if file.Auths != nil {
		return file.Auths, nil
	}
	old := map[string]dockerAuth{}
	if err := json.Unmarshal(raw, &old); err != nil {
		return nil, fmt.Errorf("reading a docker configuration: it has no \"auths\"")
	}
	return old, nil
}

// bare reduces the spellings of a registry to HOST[/PATH].
func bare(pattern string) string {
	p := strings.TrimPrefix(strings.TrimPrefix(pattern, "https://"), "http://")
	p = strings.TrimSuffix(p, "/")
	p = strings.TrimSuffix(strings.TrimSuffix(p, "/v1"), "/v2")
	if p == "index.docker.io" {
		return dockerHub
	}
	return p
}

// matches compares a pattern such as *.example.com/team with a registry and a repository. A star
// stands for a part of one host label, never for a dot.
func matches(pattern, registry, repository string) bool {
	host, prefix, _ := strings.Cut(pattern, "/")
	want, have := strings.Split(host, "."), strings.Split(registry, ".")
	if len(want) != len(have) {
		return false
	}
	for n := range want {
		if ok, err := path.Match(want[n], have[n]); err != nil || !ok {
			return false
		}
	}
	return prefix == "" || repository == prefix || strings.HasPrefix(repository, prefix+"/")
}

func (a dockerAuth) authenticator() (authn.Authenticator, error) {
	if a.Auth != "" {
		b, err := base64.StdEncoding.DecodeString(a.Auth)
		user, password, ok := strings.Cut(strings.TrimRight(string(b), "\x00"), ":")
		if err != nil || !ok {
			return nil, fmt.Errorf("\"auth\" is not base64 of USER:PASSWORD")
		}
		a.Username, a.Password = user, password
	}
	return authn.FromConfig(authn.AuthConfig{
		Username: a.Username, Password: a.Password, IdentityToken: a.IdentityToken, RegistryToken: a.RegistryToken,
	}), nil
}
