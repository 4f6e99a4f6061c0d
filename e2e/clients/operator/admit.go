package main

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// admitter is asked before a site is stored.
type admitter struct{}

// Default implements admission.Defaulter.
func (admitter) Default(_ context.Context, s *Site) error {
	if s.Spec.Page == "" {
		s.Spec.Page = "welcome"
	}
	if s.Spec.Replicas == 0 {
		s.Spec.Replicas = 1
	}
	return nil
}

// ValidateCreate implements admission.Validator.
func (admitter) ValidateCreate(_ context.Context, s *Site) (admission.Warnings, error) {
	switch {
	case s.Spec.Replicas > 3:
		return nil, fmt.Errorf("a site has at most 3 replicas, not %d", s.Spec.Replicas)
	case s.Spec.Replicas == 3:
		return admission.Warnings{"3 replicas are many"}, nil
	}
	return nil, nil
}

// ValidateUpdate implements admission.Validator.
func (a admitter) ValidateUpdate(ctx context.Context, _, s *Site) (admission.Warnings, error) {
	return a.ValidateCreate(ctx, s)
}

// ValidateDelete implements admission.Validator.
func (admitter) ValidateDelete(context.Context, *Site) (admission.Warnings, error) { return nil, nil }
