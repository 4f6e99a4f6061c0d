package tokens

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

// FuzzVerify: whoever has one token has no more than that token, however he spells it.
func FuzzVerify(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	i, err := New(issuer, key)
	if err != nil {
		f.Fatal(err)
	}
	token, err := i.Issue(claims())
	if err != nil {
		f.Fatal(err)
	}
	want, err := i.Verify(token, noon)
	if err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(token, ".")
	f.Add("$0.$1.$2")
	f.Add("$0.$1.")
	f.Add("eyJhbGciOiJub25lIn0.$1.")
	f.Add(`{"payload":"$1","protected":"$0","signature":"$2"}`)
	f.Fuzz(func(t *testing.T, text string) {
		// The key is another one in every process, so what is kept from an earlier run stands for the parts of today's token.
		for n, part := range parts {
			text = strings.ReplaceAll(text, "$"+string(rune('0'+n)), part)
		}
		c, err := i.Verify(text, noon.Add(time.Minute))
		if err == nil && !reflect.DeepEqual(c, want) {
			t.Fatalf("%q is taken for %+v", text, c)
		}
	})
}
