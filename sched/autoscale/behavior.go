package autoscale

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

const (
	// toleranceDefault is how far a metric may be from its target, as a share of it, before anything changes.
	toleranceDefault = 0.1
	// downWindowDefault is for how long a higher recommendation keeps pods.
	downWindowDefault = 5 * time.Minute
)

// rules are those of one direction.
type rules struct {
	window    time.Duration
	policies  []autoscalingv2.HPAScalingPolicy
	selection autoscalingv2.ScalingPolicySelect
	tolerance float64
}

// behavior is what the autoscaler says of how fast the number may change, with the defaults.
type behavior struct{ up, down rules }

func behaviorOf(s *autoscalingv2.HorizontalPodAutoscalerSpec) behavior {
	const period = 15
	b := behavior{
		up: rules{tolerance: toleranceDefault, policies: []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: period},
			{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: period}}},
		down: rules{tolerance: toleranceDefault, window: downWindowDefault, policies: []autoscalingv2.HPAScalingPolicy{
			{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: period}}},
	}
	if s.Behavior != nil {
		b.up.take(s.Behavior.ScaleUp)
		b.down.take(s.Behavior.ScaleDown)
	}
	return b
}

func (r *rules) take(s *autoscalingv2.HPAScalingRules) {
	if s == nil {
		return
	}
	if s.StabilizationWindowSeconds != nil {
		r.window = time.Duration(*s.StabilizationWindowSeconds) * time.Second
	}
	if len(s.Policies) > 0 {
		r.policies = s.Policies
	}
	if s.SelectPolicy != nil {
		r.selection = *s.SelectPolicy
	}
	if s.Tolerance != nil {
		r.tolerance = s.Tolerance.AsApproximateFloat64()
	}
}

// tolerance says whether a ratio is so close to 1 that nothing changes.
func (b behavior) tolerance(ratio float64) bool {
	return 1-b.down.tolerance <= ratio && ratio <= 1+b.up.tolerance
}

// longest is the longest period of the policies.
func (r *rules) longest() (d time.Duration) {
	for _, p := range r.policies {
		d = max(d, time.Duration(p.PeriodSeconds)*time.Second)
	}
	return d
}

// History is what was decided about an autoscaler before. The zero value is that of one that has never been looked at.
type History struct {
	recommended []moment // what was recommended, before it was held back
	grown       []moment // pods added
	shrunk      []moment // pods taken away
}

// moment is a number of pods at a time.
type moment struct {
	at time.Time
	n  int32
}

// begun remembers the number that a new autoscaler found, so that it takes no pods away before it has seen a window's load.
func (h History) begun(current int32, now time.Time) History {
	if len(h.recommended) == 0 {
		h.recommended = []moment{{now, current}}
	}
	return h
}

func (h History) changed(by int32, now time.Time, b behavior) History {
	if by > 0 {
		h.grown = append(since(h.grown, now.Add(-b.up.longest())), moment{now, by})
	} else {
		h.shrunk = append(since(h.shrunk, now.Add(-b.down.longest())), moment{now, -by})
	}
	return h
}

// since are the moments after a time, as a slice of its own.
func since(list []moment, t time.Time) (out []moment) {
	for _, m := range list {
		if m.at.After(t) {
			out = append(out, m)
		}
	}
	return out
}

func sum(list []moment, after time.Time) (n int32) {
	for _, m := range list {
		if m.at.After(after) {
			n += m.n
		}
	}
	return n
}

// normalize holds a recommendation back.
func (l *look) normalize(proposed int32) int32 {
	steady := l.stabilize(proposed)
	if steady == proposed {
		l.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ReadyForNewScale", "recommended size matches current size")
	} else if proposed >= l.target.Replicas {
		l.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation")
	} else {
		l.set(autoscalingv2.AbleToScale, corev1.ConditionTrue, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation")
	}
	n, reason, message := l.limit(steady)
	status := corev1.ConditionTrue
	if n == steady {
		status, reason, message = corev1.ConditionFalse, "DesiredWithinRange", "the desired count is within the acceptable range"
	}
	l.set(autoscalingv2.ScalingLimited, status, reason, message)
	return n
}

// stabilize goes no further up than the lowest recommendation of the window for growing, and no further down than the highest of
// that for shrinking.
func (l *look) stabilize(proposed int32) int32 {
	low, high := proposed, proposed
	for _, m := range l.History.recommended {
		if m.at.After(l.now.Add(-l.behavior.up.window)) {
			low = min(low, m.n)
		}
		if m.at.After(l.now.Add(-l.behavior.down.window)) {
			high = max(high, m.n)
		}
	}
	kept := since(l.History.recommended, l.now.Add(-max(l.behavior.up.window, l.behavior.down.window)))
	l.History.recommended = append(kept, moment{l.now, proposed})
	return min(max(l.target.Replicas, low), high)
}

// limit applies the policies and the bounds.
func (l *look) limit(want int32) (n int32, reason, message string) {
	switch current := l.target.Replicas; {
	case want > current:
		most, reason, message := l.spec.MaxReplicas, "TooManyReplicas", "the desired replica count is more than the maximum replica count"
		if fast := max(current, l.ceiling()); fast < most {
			most, reason, message = fast, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
		}
		return min(want, most), reason, message
	case want < current:
		least, reason, message := l.least(), "TooFewReplicas", "the desired replica count is less than the minimum replica count"
		if fast := min(current, l.floor()); fast > least {
			least, reason, message = fast, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate"
		}
		return max(want, least), reason, message
	}
	return want, "", ""
}

// ceiling is how many pods there may be now by the policies for growing.
func (l *look) ceiling() int32 {
	return l.bound(&l.behavior.up, math.MaxInt32, func(start float64, p *autoscalingv2.HPAScalingPolicy) float64 {
		if p.Type == autoscalingv2.PodsScalingPolicy {
			return start + float64(p.Value)
		}
		return math.Ceil(start * (1 + float64(p.Value)/100))
	}, func(a, b int32) bool { return a > b })
}

// floor is how few pods there may be now by the policies for shrinking.
func (l *look) floor() int32 {
	return l.bound(&l.behavior.down, math.MinInt32, func(start float64, p *autoscalingv2.HPAScalingPolicy) float64 {
		if p.Type == autoscalingv2.PodsScalingPolicy {
			return start - float64(p.Value)
		}
		return math.Trunc(start * (1 - float64(p.Value)/100))
	}, func(a, b int32) bool { return a < b })
}

// bound asks every policy how far it goes from where its period began, and takes the one that goes furthest, or least far.
func (l *look) bound(r *rules, none int32, reach func(start float64, p *autoscalingv2.HPAScalingPolicy) float64, further func(a, b int32) bool) int32 {
	if r.selection == autoscalingv2.DisabledPolicySelect {
		return l.target.Replicas
	}
	out, chosen := none, false
	for i := range r.policies {
		p := &r.policies[i]
		from := l.now.Add(-time.Duration(p.PeriodSeconds) * time.Second)
		start := l.target.Replicas - sum(l.History.grown, from) + sum(l.History.shrunk, from)
		n := int32(min(max(reach(float64(start), p), math.MinInt32), math.MaxInt32))
		if !chosen || further(n, out) == (r.selection != autoscalingv2.MinChangePolicySelect) {
			out, chosen = n, true
		}
	}
	return out
}
