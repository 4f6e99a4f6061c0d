package server

import (
	"context"
	"fmt"

	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"github.com/peapod-sh/peapod/server/hooks"
)

// Complaint is something about the cluster that somebody should mend.
type Complaint struct{ What, Fault string }

// examine looks for what makes requests fail or be forgotten, as far as this server can tell.
func (s *Server) examine(ctx context.Context) []Complaint {
	out := []Complaint{}
	if s.consensus.leader() == "" {
		out = append(out, Complaint{"consensus", "there is no leader, so nothing can be written"})
	}
	if api := s.api.Load(); api == nil {
		out = append(out, Complaint{"API", "this server does not serve it yet"})
	} else {
		for _, f := range api.ExamineHooks(ctx) {
			out = append(out, complaintOf(f))
		}
	}
	if _, sealed := s.state.Meta(metaKeyring); !sealed {
		out = append(out, Complaint{"encryption at rest", "what servers write to disk is not encrypted yet, since not all of them have said that they have the root key: the leader's log says why"})
	}
	out = append(out, s.absentServices()...)
	if s.audit != nil && s.audit.Lost() > 0 {
		out = append(out, Complaint{"audit", fmt.Sprintf("%d events were lost since this server started: its log says why", s.audit.Lost())})
	}
	return out
}

// absentServices are those that should serve a part of the API and do not.
func (s *Server) absentServices() (out []Complaint) {
	for _, o := range s.apiServices() {
		c := helper.GetAPIServiceConditionByType(o, apiregistrationv1.Available)
		if o.Spec.Service != nil && c != nil && c.Status != apiregistrationv1.ConditionTrue {
			out = append(out, Complaint{"APIService " + o.Name, c.Message + "; requests for what it serves are refused meanwhile"})
		}
	}
	return out
}

func complaintOf(f hooks.Finding) Complaint {
	meanwhile := "what it is asked about is let through meanwhile"
	if f.Fatal {
		meanwhile = "what it is asked about is refused meanwhile"
	}
	return Complaint{fmt.Sprintf("webhook %s of %s", f.Webhook, f.Configuration), f.Fault + "; " + meanwhile}
}
