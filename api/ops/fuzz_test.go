package ops

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzDecode: what is decoded means the same after it was encoded, and is not much larger than what came.
// Invariant 7.
func FuzzDecode(f *testing.F) {
	b, err := Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{formatVersion, 1, tagPodStatuses, 3, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		list, err := Decode(in)
		if err != nil {
			return
		}
		if len(list) != Count(in) {
			t.Errorf("Count says %d of %d", Count(in), len(list))
		}
		out, err := Encode(list)
		if err != nil {
			t.Fatalf("decoded but cannot be encoded: %v", err)
		}
		again, err := Decode(out)
		if err != nil {
			t.Fatalf("encoded but cannot be decoded: %v", err)
		}
		if last, err := Encode(again); err != nil || !bytes.Equal(out, last) {
			t.Fatalf("%x became %x, %v", out, last, err)
		}
	})
}

// FuzzDecodeResults: the same of results.
func FuzzDecodeResults(f *testing.F) {
	f.Add(EncodeResults([]Result{{Revision: 7, Rows: []Outcome{Applied, Conflict}, Detail: "why"}, {}}))
	f.Fuzz(func(t *testing.T, in []byte) {
		list, err := DecodeResults(in)
		if err != nil {
			return
		}
		again, err := DecodeResults(EncodeResults(list))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(list, again, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("(-first +again):\n%s", diff)
		}
	})
}

// A message cannot make us reserve room for more rows than could be in it: agents send these.
func TestClaimsReserveLittle(t *testing.T) {
	claim := func(rows uint64, head ...byte) []byte {
		w := writer{b: head}
		w.uint(rows)
		return append(w.b, make([]byte, 1000)...)
	}
	for name, least := range map[byte]uint64{tagPodStatuses: statusRowBytesMin, tagBindPods: bindRowBytesMin, tagDeletePods: deleteRowBytesMin} {
		head := []byte{formatVersion, 1, name}
		if name != tagPodStatuses {
			head = append(head, 0) // the time
		}
		if _, err := Decode(claim(1000/least, head...)); err != nil && strings.Contains(err.Error(), "things in") {
			t.Errorf("as many rows as there may be of kind %d: %v", name, err)
		}
		if _, err := Decode(claim(1000/least+1, head...)); err == nil || !strings.Contains(err.Error(), "things in") {
			t.Errorf("too many rows of kind %d: %v", name, err)
		}
	}
}
