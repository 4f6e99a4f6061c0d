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
		"agents do not read the pod again":   {1, func(o *Options) { o.Unread = true }},
		"supervisors do not keep the gate":   {615, func(o *Options) { o.Ungated = true }},
		"leaders do not ask a majority":      {185, func(o *Options) { o.Unconfirmed = true }},
	} {
		t.Run(name, func(t *testing.T) {
			o := Default()
			part.spoil(&o)
			for seed := part.from; seed < part.from+brokenSeeds; seed++ {
				if _, err := Run(seed, o); err != nil && strings.Contains(err.Error(), "at most once") {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("%d seeds did not show it", brokenSeeds)
		})
	}
}

// brokenSeeds is how many seeds may pass before each fault must have shown.
const brokenSeeds = 3000
