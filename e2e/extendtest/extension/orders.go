package main

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Order is what customers want.
type Order struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              OrderSpec `json:"spec,omitempty"`
}

// OrderSpec says what, and how much of it. By is who asked, as the server knows them.
type OrderSpec struct {
	Item  string   `json:"item,omitempty"`
	Count int32    `json:"count,omitempty"`
	By    string   `json:"by,omitempty"`
	Of    []string `json:"of,omitempty"`
}

// OrderList is a list of orders.
type OrderList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Order `json:"items"`
}

// DeepCopyObject implements runtime.Object.
func (o *Order) DeepCopyObject() runtime.Object {
	c := *o
	o.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	c.Spec.Of = slices.Clone(o.Spec.Of)
	return &c
}

// DeepCopyObject implements runtime.Object.
func (l *OrderList) DeepCopyObject() runtime.Object {
	c := *l
	c.Items = nil
	for i := range l.Items {
		c.Items = append(c.Items, *l.Items[i].DeepCopyObject().(*Order))
	}
	return &c
}

// orders keeps them in memory.
type orders struct {
	rest.TableConvertor
	events *watch.Broadcaster

	mu       sync.Mutex
	revision uint64
	by       map[types.NamespacedName]*Order
}

var (
	_ rest.StandardStorage      = (*orders)(nil)
	_ rest.Scoper               = (*orders)(nil)
	_ rest.SingularNameProvider = (*orders)(nil)
)

func newOrders() *orders {
	return &orders{TableConvertor: rest.NewDefaultTableConvertor(group.WithResource("orders").GroupResource()),
		events: watch.NewBroadcaster(100, watch.WaitIfChannelFull), by: map[types.NamespacedName]*Order{}}
}

func (*orders) New() runtime.Object     { return &Order{} }
func (*orders) NewList() runtime.Object { return &OrderList{} }
func (*orders) Destroy()                {}
func (*orders) NamespaceScoped() bool   { return true }
func (*orders) GetSingularName() string { return "order" }

func key(ctx context.Context, name string) types.NamespacedName {
	return types.NamespacedName{Namespace: request.NamespaceValue(ctx), Name: name}
}

// put stores an object and tells who watches.
func (s *orders) put(event watch.EventType, o *Order) *Order {
	s.revision++
	o.ResourceVersion = strconv.FormatUint(s.revision, 10)
	k := types.NamespacedName{Namespace: o.Namespace, Name: o.Name}
	if s.by[k] = o; event == watch.Deleted {
		delete(s.by, k)
	}
	_ = s.events.Action(event, o.DeepCopyObject()) // it is never shut down
	return o.DeepCopyObject().(*Order)
}

func (s *orders) find(ctx context.Context, name string) (*Order, error) {
	if o := s.by[key(ctx, name)]; o != nil {
		return o.DeepCopyObject().(*Order), nil
	}
	return nil, errors.NewNotFound(group.WithResource("orders").GroupResource(), name)
}

func (s *orders) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(ctx, name)
}

func (s *orders) List(ctx context.Context, o *metainternal.ListOptions) (runtime.Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &OrderList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.FormatUint(s.revision, 10)}, Items: []Order{}}
	for _, k := range slices.SortedFunc(maps.Keys(s.by), func(a, b types.NamespacedName) int {
		return int(s.by[a].CreationTimestamp.Sub(s.by[b].CreationTimestamp.Time))
	}) {
		if ns := request.NamespaceValue(ctx); (ns == "" || ns == k.Namespace) && matches(o, s.by[k]) {
			out.Items = append(out.Items, *s.by[k].DeepCopyObject().(*Order))
		}
	}
	return out, nil
}

func matches(o *metainternal.ListOptions, order *Order) bool {
	if o != nil && o.FieldSelector != nil {
		if name, exact := o.FieldSelector.RequiresExactMatch("metadata.name"); exact && name != order.Name {
			return false
		}
	}
	return true
}

func (s *orders) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if err := validate(ctx, obj); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := obj.(*Order)
	o.Namespace = request.NamespaceValue(ctx)
	if s.by[key(ctx, o.Name)] != nil {
		return nil, errors.NewAlreadyExists(group.WithResource("orders").GroupResource(), o.Name)
	}
	if u, ok := request.UserFrom(ctx); ok {
		o.Spec.By, o.Spec.Of = u.GetName(), u.GetGroups()
	}
	o.UID, o.CreationTimestamp = uuid.NewUUID(), metav1.NewTime(time.Now())
	return s.put(watch.Added, o), nil
}

func (s *orders) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, _ rest.ValidateObjectFunc, validate rest.ValidateObjectUpdateFunc,
	_ bool, _ *metav1.UpdateOptions) (runtime.Object, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old, err := s.find(ctx, name)
	if err != nil {
		return nil, false, err
	}
	next, err := info.UpdatedObject(ctx, old)
	if err != nil {
		return nil, false, err
	}
	if err := validate(ctx, next, old); err != nil {
		return nil, false, err
	}
	return s.put(watch.Modified, next.(*Order)), false, nil
}

func (s *orders) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, _ *metav1.DeleteOptions) (runtime.Object, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, err := s.find(ctx, name)
	if err == nil {
		err = validate(ctx, o)
	}
	if err != nil {
		return nil, false, err
	}
	return s.put(watch.Deleted, o), true, nil
}

func (s *orders) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *metainternal.ListOptions) (runtime.Object, error) {
	all, err := s.List(ctx, list)
	if err != nil {
		return nil, err
	}
	for _, o := range all.(*OrderList).Items {
		if _, _, err := s.Delete(ctx, o.Name, validate, options); err != nil && !errors.IsNotFound(err) {
			return nil, err
		}
	}
	return all, nil
}

// Watch begins with what there is, and says where that ends to those who ask.
func (s *orders) Watch(ctx context.Context, o *metainternal.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var first []watch.Event
	for _, order := range s.by {
		first = append(first, watch.Event{Type: watch.Added, Object: order.DeepCopyObject()})
	}
	if o != nil && o.SendInitialEvents != nil && *o.SendInitialEvents {
		first = append(first, watch.Event{Type: watch.Bookmark, Object: &Order{ObjectMeta: metav1.ObjectMeta{
			ResourceVersion: strconv.FormatUint(s.revision, 10), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}})
	}
	w, err := s.events.WatchWithPrefix(first)
	if err != nil {
		return nil, err
	}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		order, ns := e.Object.(*Order), request.NamespaceValue(ctx)
		return e, e.Type == watch.Bookmark || (ns == "" || ns == order.Namespace) && matches(o, order)
	}), nil
}
