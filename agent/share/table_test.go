package share

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Unix(1_000_000, 0)

func TestTableSendsOneToTheRegistry(t *testing.T) {
	tb := newTable()
	children := map[string]int{}
	for i := range 100 {
		asker := fmt.Sprint("n", i)
		at := tb.ask(noon, "d", asker, "")
		if (at == "") != (i == 0) {
			t.Fatalf("%s is sent to %q", asker, at)
		}
		if children[at]++; children[at] > childrenMax {
			t.Errorf("%s has %d children", at, children[at])
		}
	}
}

func TestTableAfterFailures(t *testing.T) {
	tb := newTable()
	tb.ask(noon, "d", "a", "")
	tb.ask(noon, "d", "b", "")
	tb.ask(noon, "d", "c", "")
	if at := tb.ask(noon, "d", "b", "a"); at != "" {
		t.Errorf("the next in line is sent to %q", at)
	}
	if at := tb.ask(noon, "d", "c", "a"); at != "b" {
		t.Errorf("the third is sent to %q", at)
	}
	tb.done(noon, "d", "b", false)
	if at := tb.ask(noon, "d", "c", "b"); at != "" {
		t.Errorf("when all others have given up: %q", at)
	}
	tb.done(noon, "d", "c", true)
	if at := tb.ask(noon.Add(time.Hour), "d", "a", ""); at != "c" {
		t.Errorf("an hour later: %q", at)
	}
	if at := tb.ask(noon.Add(2*keptFor), "d", "b", ""); at != "" {
		t.Errorf("two days later: %q", at)
	}
}

func TestTableIsBounded(t *testing.T) {
	tb := newTable()
	for i := range digestsMax + 10 {
		tb.ask(noon.Add(time.Duration(i)), fmt.Sprint(i), "a", "")
	}
	if len(tb.blobs) != digestsMax || tb.blobs["0"] != nil || tb.blobs[fmt.Sprint(digestsMax+9)] == nil {
		t.Errorf("%d digests are kept", len(tb.blobs))
	}
}

// TestNobodyWaitsInACircle: whatever is asked and told, following who waits for whom ends at the registry or at one
// who has the blob.
func TestNobodyWaitsInACircle(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tb := newTable()
		waits := map[string]string{} // of those who fetch, for whom
		whole := map[string]bool{}
		node := rapid.IntRange(0, 7)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			n := fmt.Sprint("n", node.Draw(t, "node"))
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0, 1:
				if whole[n] {
					continue // who has it does not ask
				}
				waits[n] = tb.ask(noon, "d", n, waits[n])
				if waits[n] == n {
					t.Fatalf("%s is sent to itself", n)
				}
			case 2:
				if at, fetches := waits[n]; fetches && (at == "" || whole[at]) {
					delete(waits, n)
					whole[n] = true
					tb.done(noon, "d", n, true)
				}
			case 3:
				delete(waits, n)
				delete(whole, n)
				tb.done(noon, "d", n, false)
			}
			for from := range waits {
				at := from
				for hops := 0; at != "" && !whole[at]; hops++ {
					if hops > 8 {
						t.Fatalf("a circle: %v", waits)
					}
					at = waits[at] // one who gave up breaks its children off, which ask again
				}
			}
		}
	})
}

func TestKeepersMoveLittle(t *testing.T) {
	var all []Member
	for i := range 20 {
		all = append(all, Member{Name: fmt.Sprint("n", i)})
	}
	moved, first := 0, map[string]int{}
	for d := range 2000 {
		digest := fmt.Sprint("sha256:", d)
		before, after := keepers(digest, all)[0], keepers(digest, all[:19])[0]
		first[before.Name]++
		if before != after {
			if moved++; before.Name != "n19" {
				t.Fatalf("%s moved from %s, which is still there", digest, before.Name)
			}
		}
	}
	for n, count := range first {
		if count < 50 || count > 170 {
			t.Errorf("%s keeps %d of 2000 digests", n, count)
		}
	}
	if moved == 0 {
		t.Error("the node that left kept nothing")
	}
}
