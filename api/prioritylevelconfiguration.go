package api

import (
	"fmt"
	"time"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
	"k8s.io/apiserver/pkg/util/shufflesharding"
)

// What a priority level is given where it says nothing.
const (
	levelSharesUnset      = 30
	levelQueuesUnset      = 64
	levelHandSizeUnset    = 8
	levelQueueLengthUnset = 50
)

func init() {
	Register(&Kind{
		GroupVersion: flowcontrolv1.SchemeGroupVersion,
		Name:         "PriorityLevelConfiguration", Resource: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration",
		ClusterScoped:        true,
		New:                  func() runtime.Object { return &flowcontrolv1.PriorityLevelConfiguration{} },
		NewList:              func() runtime.Object { return &flowcontrolv1.PriorityLevelConfigurationList{} },
		Default:              with(defaultPriorityLevel),
		Validate:             check(validatePriorityLevel),
		ValidateUpdate:       checkOld(func(l, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList { return validatePriorityLevel(l) }),
		ValidateStatusUpdate: checkOld(func(l, _ *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList { return validatePriorityLevel(l) }),
		Columns: []metav1.TableColumnDefinition{
			nameColumn,
			textColumn("Type", "Whether requests of the level are limited."),
			textColumn("NominalConcurrencyShares", "The level's share of the requests that a server serves at once."),
			textColumn("Queues", "How many queues the level has."),
			textColumn("HandSize", "Among how many queues a flow chooses the shortest."),
			textColumn("QueueLengthLimit", "How many requests may wait in one queue."),
			ageColumn,
		},
		Row:           row(priorityLevelRow),
		HasStatus:     true,
		HasGeneration: true,
	})
}

func defaultPriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) {
	s := &l.Spec
	if s.Type == flowcontrolv1.PriorityLevelEnablementExempt {
		fillPtr(&s.Exempt, flowcontrolv1.ExemptPriorityLevelConfiguration{})
	}
	if e := s.Exempt; e != nil {
		fillPtr(&e.NominalConcurrencyShares, 0)
		fillPtr(&e.LendablePercent, 0)
	}
	if s.Limited == nil {
		return
	}
	fillPtr(&s.Limited.NominalConcurrencyShares, levelSharesUnset)
	fillPtr(&s.Limited.LendablePercent, 0)
	if q := s.Limited.LimitResponse.Queuing; q != nil {
		fill(&q.Queues, levelQueuesUnset)
		fill(&q.HandSize, levelHandSizeUnset)
		fill(&q.QueueLengthLimit, levelQueueLengthUnset)
	}
}

func priorityLevelRow(l *flowcontrolv1.PriorityLevelConfiguration, now time.Time) []any {
	shares, queues, hand, length := cellNone, cellNone, cellNone, cellNone
	if limited := l.Spec.Limited; limited != nil {
		shares = itoa(int(valueOf(limited.NominalConcurrencyShares)))
		if q := limited.LimitResponse.Queuing; q != nil {
			queues, hand, length = itoa(int(q.Queues)), itoa(int(q.HandSize)), itoa(int(q.QueueLengthLimit))
		}
	}
	return []any{l.Name, string(l.Spec.Type), shares, queues, hand, length, age(l.CreationTimestamp, now)}
}

func validatePriorityLevel(l *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	s, spec := &l.Spec, field.NewPath("spec")
	errs := validatePriorityLevelType(l, spec)
	if s.Limited != nil && s.Type == flowcontrolv1.PriorityLevelEnablementLimited {
		errs = append(errs, validateLimitedLevel(s.Limited, spec.Child("limited"))...)
	}
	if s.Exempt != nil && s.Type == flowcontrolv1.PriorityLevelEnablementExempt {
		errs = append(errs, validateLevelShares(s.Exempt.NominalConcurrencyShares, s.Exempt.LendablePercent, spec.Child("exempt"))...)
	}
	errs = append(errs, validateFixedLevel(l, spec)...)
	return append(errs, validateConditionTypes(l.Status.Conditions, field.NewPath("status", "conditions"),
		func(c flowcontrolv1.PriorityLevelConfigurationCondition) string { return string(c.Type) })...)
}

// validatePriorityLevelType: the type says which one of the other fields is there, and one level only is exempt.
func validatePriorityLevelType(l *flowcontrolv1.PriorityLevelConfiguration, spec *field.Path) (errs field.ErrorList) {
	s := &l.Spec
	if (l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt) != (s.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		errs = append(errs, field.Invalid(spec.Child("type"), s.Type, "type must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	switch s.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if s.Limited != nil {
			errs = append(errs, field.Forbidden(spec.Child("limited"), "must be nil if the type is not Limited"))
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if s.Exempt != nil {
			errs = append(errs, field.Forbidden(spec.Child("exempt"), "must be nil if the type is Limited"))
		}
		if s.Limited == nil {
			errs = append(errs, field.Required(spec.Child("limited"), "must not be empty when type is Limited"))
		}
	default:
		errs = append(errs, requiredOneOf(s.Type, spec.Child("type"),
			flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)...)
	}
	return errs
}

// validateFixedLevel keeps the mandatory levels as they are; of the exempt one, its shares may be changed.
func validateFixedLevel(l *flowcontrolv1.PriorityLevelConfiguration, spec *field.Path) field.ErrorList {
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		if fixed.Name != l.Name {
			continue
		}
		want, rule := fixed.Spec, "spec of '%s' must equal the fixed value"
		if l.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt {
			want.Exempt, rule = l.Spec.Exempt, "spec of '%s' except the 'spec.exempt' field must equal the fixed value"
		}
		if !equality.Semantic.DeepEqual(want, l.Spec) {
			return field.ErrorList{field.Invalid(spec, l.Spec, fmt.Sprintf(rule, l.Name))}
		}
	}
	return nil
}

func validateLevelShares(shares, lendable *int32, path *field.Path) (errs field.ErrorList) {
	if n := valueOf(shares); n < 0 {
		errs = append(errs, field.Invalid(path.Child("nominalConcurrencyShares"), n, "must be a non-negative integer"))
	}
	if n := valueOf(lendable); n < 0 || n > 100 {
		errs = append(errs, field.Invalid(path.Child("lendablePercent"), n, "must be between 0 and 100, inclusive"))
	}
	return errs
}

func validateLimitedLevel(l *flowcontrolv1.LimitedPriorityLevelConfiguration, path *field.Path) field.ErrorList {
	errs := validateLevelShares(l.NominalConcurrencyShares, l.LendablePercent, path)
	if n := valueOf(l.BorrowingLimitPercent); n < 0 {
		errs = append(errs, field.Invalid(path.Child("borrowingLimitPercent"), n, "if specified, must be a non-negative integer"))
	}
	r, response := &l.LimitResponse, path.Child("limitResponse")
	queuing := response.Child("queuing")
	switch r.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if r.Queuing != nil {
			errs = append(errs, field.Forbidden(queuing, "must be nil if limited.limitResponse.type is not Limited"))
		}
	case flowcontrolv1.LimitResponseTypeQueue:
		if r.Queuing == nil {
			errs = append(errs, field.Required(queuing, "must not be empty if limited.limitResponse.type is Limited"))
		} else {
			errs = append(errs, validateQueuing(r.Queuing, queuing)...)
		}
	default:
		errs = append(errs, requiredOneOf(r.Type, response.Child("type"),
			flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	}
	return errs
}

// validateQueuing also sees that a flow's hand of queues can be dealt from the bits of one hash.
func validateQueuing(q *flowcontrolv1.QueuingConfiguration, path *field.Path) (errs field.ErrorList) {
	positive := func(name string, n int32) bool {
		if n <= 0 {
			errs = append(errs, field.Invalid(path.Child(name), n, "must be positive"))
		}
		return n > 0
	}
	positive("queueLengthLimit", q.QueueLengthLimit)
	if positive("queues", q.Queues) && q.Queues > levelQueuesMax {
		errs = append(errs, field.Invalid(path.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", levelQueuesMax)))
	}
	if !positive("handSize", q.HandSize) {
		return errs
	}
	hand := path.Child("handSize")
	if q.HandSize > q.Queues {
		return append(errs, field.Invalid(hand, q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	}
	if shufflesharding.RequiredEntropyBits(int(q.Queues), int(q.HandSize)) > shufflesharding.MaxHashBits {
		errs = append(errs, field.Invalid(hand, q.HandSize,
			fmt.Sprintf("required entropy bits of deckSize %d and handSize %d should not be greater than %d", q.Queues, q.HandSize, shufflesharding.MaxHashBits)))
	}
	return errs
}
