package jobs

import (
	"bytes"
	"testing"

	"github.com/peapod-sh/peapod/server"
)

func TestOutlookIsAligned(t *testing.T) {
	var out bytes.Buffer
	showOutlook(&out, &server.Outlook{
		Start:   []server.PodGroup{{Workload: "Deployment/web", Node: "n1", Pods: 12}, {Workload: "Deployment/a-longer-name", Node: "n2", Pods: 1}},
		Waiting: []server.PodGroup{{Workload: "Job/batch", Reason: "0/2 nodes are available: 2 Insufficient cpu.", Pods: 3}},
		End:     []server.PodGroup{{Workload: "Deployment/web", Node: "n2", Pods: 2}},
		Preempt: []server.PodGroup{{Workload: "Pod/cheap", Node: "n2", Pods: 1}},
	}, false)
	want := `
Pods:
  - Deployment/web            2   end on n2
  - Pod/cheap                 1   preempted on n2
  + Deployment/web            12  start on n1
  + Deployment/a-longer-name  1   start on n2
  ! Job/batch                 3   fit nowhere: 0/2 nodes are available: 2 Insufficient cpu.
  This is how far it would have come after some minutes: the controllers would still have something to do.
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
	out.Reset()
	if showOutlook(&out, &server.Outlook{Settled: true}, false); out.Len() != 0 {
		t.Errorf("of nothing: %s", out.String())
	}
}

func TestChangesAreAlignedAndColoured(t *testing.T) {
	list := []change{{"spec.replicas", 1, 2}, {"metadata.labels.a", nil, "b"}, {"spec.x", true, nil}}
	var out bytes.Buffer
	writeChanges(&out, list, false)
	if want := "    ~ spec.replicas:     1 => 2\n    + metadata.labels.a: \"b\"\n    - spec.x:            true\n"; out.String() != want {
		t.Errorf("%s", out.String())
	}
	out.Reset()
	writeChanges(&out, list[:1], true)
	if want := "    " + yellow + "~" + plain + " spec.replicas: " + red + "1" + plain + " => " + green + "2" + plain + "\n"; out.String() != want {
		t.Errorf("%q", out.String())
	}
}
