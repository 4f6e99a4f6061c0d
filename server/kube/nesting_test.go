package kube

import (
	"strings"
	"testing"
)

func TestNesting(t *testing.T) {
	for text, want := range map[string]int{"": 0, `{"a":[{}]}`: 3, `{"a":"[[["}`: 1, `{"a":"\"[["}`: 1, `{}{}[]`: 1, `]]][`: 1, "spec: [{": 2, strings.Repeat("[", 1000): 1000} {
		if got := nesting([]byte(text)); got != want {
			t.Errorf("the nesting of %.20q is %d, wanted %d", text, got, want)
		}
	}
}
