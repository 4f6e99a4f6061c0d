package supervisor

import (
	"bytes"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// FuzzFields: an answer that is taken is the message that it says.
func FuzzFields(f *testing.F) {
	f.Add(newMessage("HELLO").num(1).list([]string{"a", ""}).body)
	f.Add([]byte{255, 255, 255, 255, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		fields, err := parseFields(b)
		if err != nil {
			return
		}
		m := new(message)
		for _, s := range fields {
			m.str(s)
		}
		if m.err != nil || !bytes.Equal(m.body, b) {
			t.Fatalf("%q was read as %q", b, fields)
		}
		_, _ = numbers(fields, len(fields)-1)
		_ = refusal(fields)
	})
}

// FuzzExits: no damage to the journal keeps an agent from starting or hides the lines that are whole; what is read of it means the same
// when it is written again.
func FuzzExits(f *testing.F) {
	f.Add([]byte("12 345 137 1767225600000000000\n13 346 0 17672256"))
	f.Add([]byte("0x1 2 3 4\n+1 -2 3 4\n1 2 3 4 5\n"))
	f.Add(make([]byte, 100<<10)) // as a crash of the machine may leave it
	f.Fuzz(func(t *testing.T, b []byte) {
		got := map[ProcessKey]Exit{}
		if err := readExits(bytes.NewReader(b), got); err != nil {
			t.Fatal(err)
		}
		var again strings.Builder
		for _, e := range got {
			fmt.Fprintf(&again, "%d %d %d %d\n", e.PID, e.StartTime, e.Code, e.At.UnixNano())
		}
		same := map[ProcessKey]Exit{}
		if err := readExits(strings.NewReader(again.String()), same); err != nil || !maps.Equal(got, same) {
			t.Fatalf("%v came back as %v, %v", got, same, err)
		}
		const whole = "7 8 9 10\n"
		after := map[ProcessKey]Exit{}
		if err := readExits(strings.NewReader(string(b)+"\n"+whole), after); err != nil || after[ProcessKey{7, 8}].Code != 9 {
			t.Fatalf("a whole line after it is not found: %v, %v", after, err)
		}
	})
}
