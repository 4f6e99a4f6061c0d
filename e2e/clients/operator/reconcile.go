package main

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"k8s.io/client-go/tools/events"
)

// finalizer holds a site until what is outside of its owner's reach has been tidied up.
const finalizer = "operators.example/farewell"

// reconciler makes a Deployment of each site.
type reconciler struct {
	client.Client
	events events.EventRecorder
	pod    string // ours
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	site := &Site{}
	if err := r.Get(ctx, req.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.farewell(ctx, site)
	}
	if controllerutil.AddFinalizer(site, finalizer) {
		return ctrl.Result{}, r.Update(ctx, site)
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name}}
	done, err := controllerutil.CreateOrUpdate(ctx, r.Client, deployment, func() error { return r.furnish(site, deployment) })
	if err != nil {
		return ctrl.Result{}, err
	}
	if done != controllerutil.OperationResultNone {
		r.events.Eventf(site, deployment, corev1.EventTypeNormal, "Furnished", "Furnish", "the deployment was %s", done)
	}
	return ctrl.Result{}, r.report(ctx, site, deployment)
}

// furnish makes the deployment what the site asks for.
func (r *reconciler) furnish(site *Site, d *appsv1.Deployment) error {
	labels := map[string]string{"site": site.Name}
	zero := int64(0)
	d.Spec.Replicas = &site.Spec.Replicas
	d.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
	d.Spec.Template.Labels = labels
	d.Spec.Template.Annotations = map[string]string{"page": site.Spec.Page}
	d.Spec.Template.Spec.TerminationGracePeriodSeconds = &zero
	if len(d.Spec.Template.Spec.Containers) == 0 {
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web"}}
	}
	d.Spec.Template.Spec.Containers[0].Image = "peapod/demo"
	return controllerutil.SetControllerReference(site, d, r.Scheme())
}

func (r *reconciler) report(ctx context.Context, site *Site, d *appsv1.Deployment) error {
	status := SiteStatus{Page: site.Spec.Page, Ready: d.Status.ReadyReplicas, By: r.pod}
	if site.Status == status {
		return nil
	}
	before := site.DeepCopyObject().(client.Object)
	site.Status = status
	return r.Status().Patch(ctx, site, client.MergeFrom(before))
}

// farewell leaves a note that outlives the site, and lets it go.
func (r *reconciler) farewell(ctx context.Context, site *Site) error {
	if !controllerutil.ContainsFinalizer(site, finalizer) {
		return nil
	}
	note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: site.Namespace, Name: site.Name + "-farewell"}, Data: map[string]string{"page": site.Spec.Page}}
	if err := r.Create(ctx, note); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	controllerutil.RemoveFinalizer(site, finalizer)
	return r.Update(ctx, site)
}
