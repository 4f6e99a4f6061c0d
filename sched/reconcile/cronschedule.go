package reconcile

import (
	"strings"
	"time"

	"github.com/robfig/cron/v3"
	corev1 "k8s.io/api/core/v1"

	"github.com/peapod-sh/peapod/api"
)

// missedMany is how many missed starts are worth a warning.
const missedMany = 100

// schedule of a cron job.
type schedule struct{ cron.Schedule }

// schedule is the cron job's, in its time zone. If it cannot be read an event says so.
func (r *cronRun) schedule() (s schedule, zone *time.Location, ok bool) {
	text, zone := r.c.Spec.Schedule, time.UTC
	if name := r.c.Spec.TimeZone; name != nil {
		var err error
		if zone, err = time.LoadLocation(*name); err != nil {
			r.say(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *name, err)
			return s, nil, false
		}
	} else if strings.Contains(text, "TZ") {
		r.say(corev1.EventTypeWarning, "UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", text)
	}
	parsed, err := api.ParseSchedule(text)
	if err != nil {
		r.say(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", text, err)
		return s, nil, false
	}
	if spec, is := parsed.(*cron.SpecSchedule); is && !strings.Contains(text, "TZ") {
		spec.Location = zone
	}
	return schedule{parsed}, zone, true
}

// starts are the times of a schedule that have come: the last of them, zero if there is none, and how many, up to one more than
// missedMany.
type starts struct {
	last  time.Time
	count int
}

// since are the starts after a time, up to now.
func (s schedule) since(earliest, now time.Time) (out starts) {
	if every, is := s.Schedule.(cron.ConstantDelaySchedule); is {
		if n := int(now.Sub(earliest) / every.Delay); n > 0 {
			out = starts{earliest.Add(time.Duration(n) * every.Delay), min(n, missedMany+1)}
		}
		return out
	}
	for t := s.Next(earliest); !t.IsZero() && !t.After(now) && out.count <= missedMany; t = s.Next(t) {
		out.last, out.count = t, out.count+1
	}
	if out.count > missedMany {
		out.last = s.latest(out.last, now)
	}
	return out
}

// latest is the last start up to now, of which there is one at known or later. It looks back further and further, since a schedule
// can only be asked forwards.
func (s schedule) latest(known, now time.Time) time.Time {
	for back := time.Minute; now.Add(-back).After(known); back *= 2 {
		if t := s.Next(now.Add(-back)); !t.IsZero() && !t.After(now) {
			known = t
			break
		}
	}
	for t := s.Next(known); !t.IsZero() && !t.After(now); t = s.Next(t) {
		known = t
	}
	return known
}

// next is the first start after now; base is where a schedule of equal distances is counted from. Zero is never: there is no 31st
// of February.
func (s schedule) next(base, now time.Time) time.Time {
	if every, is := s.Schedule.(cron.ConstantDelaySchedule); is {
		n := max(0, now.Sub(base)/every.Delay)
		return base.Add((n + 1) * every.Delay)
	}
	return s.Next(now)
}
