package kube_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/peapod-sh/peapod/api"
)

// plainSeeds are creations, good ones of all kinds and faulty ones.
func plainSeeds(t *testing.T) (out []apiSeed) {
	for doc := range strings.SplitSeq(string(kindsYAML), "\n---\n") {
		if len(bytes.TrimSpace([]byte(doc))) > 0 {
			out = append(out, objectSeeds(t, []byte(doc))...)
		}
	}
	for _, s := range apiSeeds(t) {
		if s.method == post {
			out = append(out, s)
		}
	}
	cm := "/api/v1/namespaces/default/configmaps"
	for _, body := range []string{
		`{"metadata":{"name":"a"}}`, // exists
		`{"metadata":{"name":"b"},"x":1,"data":{"a":"b","a":"c"}}`,
		`{"metadata":{"name":"b","namespace":"other"}}`,
		`{"metadata":{"name":"B!"},"data":{"?":"x"}}`,
		`{"metadata":{"name":"b","labels":{"-":"x"},"finalizers":["x"]}}`,
		`{"metadata":{"name":"b","resourceVersion":"7"}}`,
		`{"metadata":{"name":"b","uid":"u","creationTimestamp":"2020-01-01T00:00:00Z","generation":7,"selfLink":"x"}}`,
		`{"metadata":{"name":"b","managedFields":[{"manager":"m","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{}}}]}}`,
		`{"metadata":{"name":"b","ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":"p","uid":"1"},{"apiVersion":"v1","kind":"Pod","name":"p","uid":"1"}]}}`,
		`{"metadata":{"name":"b","annotations":{"a<b":"c","d":"e"}},"data":{"k":"v"},"binaryData":{"x":"AAAA"},"immutable":true}`,
		`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"b"}}`, `{"metadata":{}}`, `{}`, `[]`, `null`, ``, `{"metadata":`, `{"metadata":{"name":"b"}} {}`,
	} {
		out = append(out, apiSeed{post, cm, asJSON, asJSON, []byte(body)}, apiSeed{post, "/api/v1/namespaces/none/configmaps", asJSON, asJSON, []byte(body)})
	}
	return append(out, apiSeed{post, cm, "text/plain", asJSON, []byte(`{}`)}, apiSeed{post, cm, asProto, asJSON, []byte("k8s\x00x")})
}

// What a creation answers plainly is what apiserver's handler would have answered: a question for unindented JSON keeps a request from the
// plain way and changes nothing else.
func TestPlainCreationsAreApiservers(t *testing.T) {
	f, plain := newFuzzed(t), map[string]bool{}
	for _, s := range plainSeeds(t) {
		ask := func(query string) *httptest.ResponseRecorder {
			f.reset(t)
			target := s.target
			if target += "?"; strings.Count(target, "?") > 1 {
				target = s.target + "&"
			}
			r := request("POST", strings.TrimSuffix(target+query, "?"), s.contentType, asJSON, s.body)
			r.Header.Set("User-Agent", "tester/1 (test)")
			return f.serve(r)
		}
		ours, theirs := ask(""), ask("pretty=false")
		if ours.Header().Get("Content-Length") != "" {
			plain[s.target+s.contentType] = true
		}
		for _, query := range []string{"fieldManager=kubectl-create&fieldValidation=Strict", "fieldValidation=Ignore&fieldManager=x"} {
			if !strings.Contains(s.target, "?") {
				same(t, s, ask(query), ask("pretty=false&"+query))
			}
		}
		same(t, s, ours, theirs)
	}
	if kinds := len(api.Kinds()); len(plain) < kinds {
		t.Errorf("only %d of %d kinds were created plainly", len(plain), kinds)
	}
}

func same(t *testing.T, s apiSeed, ours, theirs *httptest.ResponseRecorder) {
	t.Helper()
	a, b := masked(ours), masked(theirs)
	if ours.Code != theirs.Code || !reflect.DeepEqual(a, b) {
		t.Errorf("%s %s %.200q:\nours   %d %s\ntheirs %d %s", s.target, s.contentType, s.body, ours.Code, ours.Body, theirs.Code, theirs.Body)
	}
	for _, h := range []string{"Content-Type", "Warning", "Cache-Control"} {
		if x, y := ours.Header().Values(h), theirs.Header().Values(h); !reflect.DeepEqual(x, y) {
			t.Errorf("%s %.200q: %s is %q, and %q by apiserver", s.target, s.body, h, x, y)
		}
	}
}

// masked is a JSON answer without what is another each time.
func masked(w *httptest.ResponseRecorder) any {
	var v any
	if json.Unmarshal(w.Body.Bytes(), &v) != nil {
		return w.Body.String()
	}
	mask(v)
	return v
}

func mask(v any) {
	switch v := v.(type) {
	case map[string]any:
		_, generated := v["generateName"]
		for k := range v {
			switch {
			case strings.HasSuffix(k, "uid") || k == "creationTimestamp" || k == "time" || k == "resourceVersion" || k == "token" || generated && k == "name":
				v[k] = "masked"
			case k == "clusterIP" || k == "clusterIPs" || k == "nodePort" || k == "expirationTimestamp" || k == "firstTimestamp":
				v[k] = "chosen"
			default:
				mask(v[k])
			}
		}
	case []any:
		for i := range v {
			mask(v[i])
		}
	}
}
