package kube

import "testing"

// TestStormsLeaveRoom: however many users ask for all they can get, the next one finds a place.
// Invariant 213.
func TestStormsLeaveRoom(t *testing.T) {
	for storms, each := range map[int]int{1: 12, 2: 8, 3: 6, 7: 3} {
		g := newGate(24, 20)
		have := map[int]int{}
		for range g.max { // each takes what it gets, by turns
			for u := range storms {
				if g.enter(string(rune('a' + u))) {
					have[u]++
				}
			}
		}
		for u, n := range have {
			if n != each {
				t.Errorf("of %d users with storms, number %d has %d places, want %d", storms, u, n, each)
			}
		}
		if !g.enter("quiet") {
			t.Errorf("%d users with storms left no room for another", storms)
		}
	}
}
