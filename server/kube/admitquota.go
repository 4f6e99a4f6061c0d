package kube

import (
	"context"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"

	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/api/quota"
)

const (
	// quotaWorkers bounds the namespaces whose quotas are asked at a time; requests for one namespace are answered together.
	quotaWorkers = 8
	// quotaAttemptsMax bounds the retries when other servers take from the same quota. Each of them writes for all who wait there.
	quotaAttemptsMax = 16
	// quotaWriteTimeout bounds one write of what is taken.
	quotaWriteTimeout = 10 * time.Second
)

// quotaRule takes what a request needs from its namespace's quotas before the object is written. What is taken is a write of the quota
// under the condition that nobody else has taken meanwhile, so all servers together never give more than there is. What
// was taken and not used comes back (sched/reconcile/quota.go).
type quotaRule struct {
	state
	evaluator func() resourcequota.Evaluator // made for the first quota, since it keeps goroutines
}

func newQuotaRule(s state, stop <-chan struct{}) quotaRule {
	return quotaRule{s, sync.OnceValue(func() resourcequota.Evaluator {
		return resourcequota.NewQuotaEvaluator(quotas{s}, nil, quota.Registry(), nil, nil, quotaWorkers, stop)
	})}
}

func (r quotaRule) validate(ctx context.Context, at admission.Attributes) error {
	if at.GetNamespace() == "" || at.GetOperation() != admission.Create && at.GetOperation() != admission.Update || at.GetResource().GroupResource() == namespacesResource {
		return nil
	}
	if len(r.Objects(quotasResource, at.GetNamespace())) == 0 {
		return nil
	}
	idle(ctx) // others may be before it, and each waits for raft
	var err error
	for range quotaAttemptsMax {
		if err = r.evaluator().Evaluate(at); !apierrors.IsConflict(err) || ctx.Err() != nil {
			break
		}
	}
	if err == nil || apierrors.IsConflict(err) {
		return err
	}
	// Something may have been given back elsewhere.
	if r.Barrier(ctx) != nil {
		return err
	}
	return r.evaluator().Evaluate(at)
}

// quotas are those of the local state.
type quotas struct{ state }

var _ resourcequota.QuotaAccessor = quotas{}

// GetQuotas implements resourcequota.QuotaAccessor.
func (q quotas) GetQuotas(namespace string) (out []corev1.ResourceQuota, err error) {
	for _, o := range factsOf[*corev1.ResourceQuota](q, quotasResource, namespace) {
		out = append(out, *o.DeepCopy())
	}
	return out, nil
}

// UpdateQuotaStatus implements resourcequota.QuotaAccessor. A conflict means that the local state has what it was in conflict with.
func (q quotas) UpdateQuotaStatus(next *corev1.ResourceQuota) error {
	rev, err := strconv.ParseUint(next.ResourceVersion, 10, 64)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), quotaWriteTimeout)
	defer cancel()
	results, err := q.Propose(ctx, &ops.Put{Resource: quotasResource, Object: next, Expect: rev})
	if err != nil {
		return unavailable(quotasResource, "update", err)
	}
	if !results[0].OK() {
		return apierrors.NewConflict(quotasResource, next.Name, errQuotaTaken)
	}
	return nil
}

var errQuotaTaken = apierrors.NewBadRequest("others take from it at the same time")
