package kube

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"

	crdserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/server"
)

// definitionsPath is where definitions of custom resources are written.
const definitionsPath = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"

// shallowBodies is a delegate whose definitions must not be nested too deeply as text: the decoder of schemas reads what is inside once
// again for each level, which admission comes too late for.
type shallowBodies struct{ server.DelegationTarget }

// UnprotectedHandler looks at the bodies first.
func (s shallowBodies) UnprotectedHandler() http.Handler {
	next := s.DelegationTarget.UnprotectedHandler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, definitionsPath) || r.Body == nil || r.Header.Get("Content-Type") == runtime.ContentTypeProtobuf {
			next.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, requestBodyMax))
		if err == nil && nesting(body) > textDepthMax {
			err = apierrors.NewBadRequest(fmt.Sprintf("a definition of a custom resource must not be nested more than %d levels deep", textDepthMax))
		}
		if err != nil {
			failing(crdserver.Codecs, func(*http.Request) error { return err }).ServeHTTP(w, r)
			return
		}
		// What is beyond the limit is still there, for the handler to refuse.
		r.Body = bodyAgain{io.MultiReader(bytes.NewReader(body), r.Body), r.Body}
		next.ServeHTTP(w, r)
	})
}

// bodyAgain is a body of which the beginning was read.
type bodyAgain struct {
	io.Reader
	io.Closer
}

// nesting is how deep the brackets of a JSON text go, outside of its strings. It does not matter whether it is JSON.
func nesting(text []byte) (deepest int) {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth = max(depth-1, 0)
		}
	}
	return deepest
}
