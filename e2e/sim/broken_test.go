package sim

import (
	"strings"
	"testing"
	"time"
)

// A simulator that finds nothing proves nothing: each part of the design, taken away, must be missed.
func TestWithoutAPartItIsFound(t *testing.T) {
	for name, part := range map[string]struct {
		from  uint64 // a seed from which it does not take long
		spoil func(o *Options)
	}{
		"leaders do not wait for the deaths": {1, func(o *Options) { o.Times.Margin = -500 * time.Millisecond }},
		"clocks drift more than is allowed":  {1, func(o *Options) { o.DriftParts = 3 }},
		"supervisors stop nothing":           {1, func(o *Options) { o.Unfenced = true }},
		"agents do not read the pod again":   {1, func(o *Options) { o.Unread = true }},
		"supervisors do not keep the gate":   {46, func(o *Options) { o.Ungated = true }},
		"leaders do not ask a majority":      {121, func(o *Options) { o.Unconfirmed = true }},
	} {
		t.Run(name, func(t *testing.T) {
			o := Default()
			o.Scaled = false // what is looked for are single writers, and the seeds were found without
			part.spoil(&o)
			missed := map[bool]bool{} // by a claim, by a name
			for seed := part.from; seed < part.from+brokenSeeds && len(missed) < 2; seed++ {
				_, err := Run(seed, o)
				if err == nil {
					continue
				}
				if _, what, ok := strings.Cut(err.Error(), "at most once: "); ok && !missed[what[0] == '/'] {
					missed[what[0] == '/'] = true
					t.Logf("seed %d: %v", seed, err)
				}
			}
			if len(missed) < 2 {
				t.Errorf("%d seeds did not show it, both for a claim and for a name of a StatefulSet", brokenSeeds)
			}
		})
	}
}

// brokenSeeds is how many seeds may pass before each fault must have shown, both for claims and for names.
const brokenSeeds = 500

// Evictions that ask no budget are missed. Invariant 216.
func TestUnspentBudgetsAreMissed(t *testing.T) {
	o := Default()
	o.Unspent = true
	for seed := uint64(110); seed < 110+brokenSeeds; seed++ { // from one from which it does not take long
		if _, err := Run(seed, o); err != nil {
			if !strings.Contains(err.Error(), "budgets are kept: ") {
				t.Fatalf("seed %d: %v", seed, err)
			}
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Errorf("%d seeds did not show it", brokenSeeds)
}
