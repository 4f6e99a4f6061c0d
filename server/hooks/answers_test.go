package hooks

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// reply is what a webhook does with a review of a version with a UID.
type reply func(w http.ResponseWriter, version, uid string)

// says answers with a response.
func says(response string) reply {
	return func(w http.ResponseWriter, version, uid string) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/%s","response":{"uid":%q,%s}}`, version, uid, response)
	}
}

func patches(patch string) reply {
	return says(`"allowed":true,"patchType":"JSONPatch","patch":"` + base64.StdEncoding.EncodeToString([]byte(patch)) + `"`)
}

func raw(status int, contentType, body string) reply {
	return func(w http.ResponseWriter, _, _ string) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// replies are what webhooks do, by name. The first few are what most of them do.
var replies = map[string]reply{
	"allows":                   says(`"allowed":true`),
	"adds a label":             patches(`[{"op":"add","path":"/metadata/labels","value":{"seen":"yes"}}]`),
	"changes data":             patches(`[{"op":"add","path":"/data","value":{"a":"<&>\u2028","n":"1"}}]`),
	"skips the next":           patches(`[{"op":"add","path":"/metadata/labels","value":{"skip":"yes"}}]`),
	"patches nothing":          patches(`[]`),
	"changes nothing":          patches(`[{"op":"test","path":"/metadata/name","value":"c"}]`),
	"patches with garbage":     patches(`{]`),
	"patches what is not":      patches(`[{"op":"replace","path":"/none/such","value":1}]`),
	"makes another kind":       patches(`[{"op":"replace","path":"/kind","value":"Secret"}]`),
	"makes no kind":            patches(`[{"op":"remove","path":"/kind"}]`),
	"makes an unknown kind":    patches(`[{"op":"replace","path":"/kind","value":"Unknown"}]`),
	"makes what does not fit":  patches(`[{"op":"add","path":"/data","value":[1]}]`),
	"makes nothing":            patches(`[{"op":"replace","path":"","value":null}]`),
	"breaks the library":       patches(`[{"op":"replace","path":""}]`),
	"adds what is not known":   patches(`[{"op":"add","path":"/Data","value":{"x":"y"}}]`),
	"forgets the patch's type": says(`"allowed":true,"patch":"W10="`),
	"forgets the patch":        says(`"allowed":true,"patchType":"JSONPatch"`),
	"has another type":         says(`"allowed":true,"patchType":"Other","patch":"W3sib3AiOiJyZW1vdmUiLCJwYXRoIjoiL2RhdGEifV0="`),
	"denies":                   says(`"allowed":false`),
	"denies with a reason":     says(`"allowed":false,"status":{"message":"no","reason":"Teapot","code":418}`),
	"denies with success":      says(`"allowed":false,"status":{"status":"Success","code":200,"reason":"Fine"}`),
	"warns and notes":          says(`"allowed":true,"warnings":["careful","twice"],"auditAnnotations":{"a":"b","bad key":"c"}`),
	"warns and denies":         says(`"allowed":false,"warnings":["no"],"auditAnnotations":{"d":"e"}`),
	"says it in capitals":      says(`"Allowed":true`),
	"says more":                says(`"allowed":true,"more":{"x":[1,2]},"allowed":true`),
	"answers another": func(w http.ResponseWriter, version, _ string) {
		says(`"allowed":true`)(w, version, "another")
	},
	"answers in another version": func(w http.ResponseWriter, version, uid string) {
		says(`"allowed":true`)(w, map[string]string{"v1": "v1beta1", "v1beta1": "v1"}[version], uid)
	},
	"answers a request again": func(w http.ResponseWriter, version, _ string) {
		fmt.Fprintf(w, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/%s","request":{}}`, version)
	},
	"answers untyped": func(w http.ResponseWriter, _, uid string) {
		fmt.Fprintf(w, `{"response":{"uid":%q,"allowed":true}}`, uid)
	},
	"answers in YAML": func(w http.ResponseWriter, version, uid string) {
		w.Header().Set("Content-Type", "application/yaml")
		fmt.Fprintf(w, "kind: AdmissionReview\napiVersion: admission.k8s.io/%s\nresponse:\n  uid: %s\n  allowed: true\n", version, uid)
	},
	"answers with 201": func(w http.ResponseWriter, version, uid string) {
		w.WriteHeader(http.StatusCreated)
		says(`"allowed":true`)(w, version, uid)
	},
	"answers twice": func(w http.ResponseWriter, version, uid string) {
		says(`"allowed":true`)(w, version, uid)
		says(`"allowed":true`)(w, version, uid)
	},
	"warns in its head": func(w http.ResponseWriter, version, uid string) {
		w.Header().Set("Warning", `299 - "old"`)
		says(`"allowed":true`)(w, version, uid)
	},
	"has an unreadable type": raw(200, `text/plain; charset="`, `{}`),
	"has an unknown type":    raw(200, "image/png", `{}`),
	"answers garbage":        raw(200, "application/json", "{]"),
	"answers null":           raw(200, "application/json", "null"),
	"answers nothing":        raw(200, "application/json", ""),
	"answers a status":       raw(200, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"is it?","code":409}`),
	"answers a success":      raw(200, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Success"}`),
	"breaks":                 raw(500, "text/plain", "ouch"),
	"breaks with a status":   raw(422, "application/json", `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"is it?","reason":"Invalid","code":422}`),
	"is not there":           raw(404, "text/html", "<html>"),
	"does not know JSON":     raw(415, "text/plain", "what?"),
	"redirects":              func(w http.ResponseWriter, _, _ string) { w.Header().Set("Location", "/0"); w.WriteHeader(307) },
	"redirects nowhere":      raw(302, "text/plain", ""),
	"promises more": func(w http.ResponseWriter, _, _ string) {
		w.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(w, `{"kind":`)
	},
	"hangs up": func(http.ResponseWriter, string, string) { panic(http.ErrAbortHandler) },
}

// replyNames has the usual ones several times.
func replyNames() []string {
	names := slices.Sorted(maps.Keys(replies))
	for range 12 {
		names = append(names, "allows", "adds a label", "changes data", "skips the next", "denies with a reason", "warns and notes")
	}
	return append(names, "asks for patience")
}

// answering is a server of webhooks, each at a path of its own, that remembers what it was sent.
type answering struct {
	*httptest.Server
	mu      sync.Mutex
	replies map[string]string // by path
	seen    []string
}

func newAnswering(t testing.TB) *answering {
	a := &answering{}
	a.Server = httptest.NewUnstartedServer(a)
	a.Config.ErrorLog = nil
	a.StartTLS()
	t.Cleanup(a.Close)
	return a
}

func (a *answering) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var review struct {
		APIVersion string
		Request    struct{ UID string }
	}
	_ = json.Unmarshal(body, &review)
	name := a.sees(r, strings.ReplaceAll(string(body), review.Request.UID, "UID"))
	version := strings.TrimPrefix(review.APIVersion, "admission.k8s.io/")
	switch name {
	case "asks for patience":
		if a.times(r.URL.Path)%2 == 1 {
			w.Header().Set("Retry-After", "0")
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		name = "allows"
	case "hangs":
		<-r.Context().Done()
		return
	}
	replies[name](w, version, review.Request.UID)
}

func (a *answering) sees(r *http.Request, body string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen = append(a.seen, fmt.Sprintln(r.Method, r.URL, r.Host, r.Header, r.ContentLength, body))
	return a.replies[r.URL.Path]
}

// times is how often a path was asked.
func (a *answering) times(path string) (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.seen {
		if strings.HasPrefix(s, "POST "+path+"?") {
			n++
		}
	}
	return n
}

// took is what it was sent since; in the order of paths if they are asked at once.
func (a *answering) took(sorted bool) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.seen
	a.seen = nil
	if sorted {
		slices.Sort(out)
	}
	return out
}

func (a *answering) bundle() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate().Raw})
}
