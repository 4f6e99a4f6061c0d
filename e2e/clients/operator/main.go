package main

import (
	"os"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

func main() {
	ctrl.SetLogger(zap.New())
	if err := run(os.Getenv("POD_NAME"), os.Getenv("POD_NAMESPACE")); err != nil {
		ctrl.Log.Error(err, "the operator ends")
		os.Exit(1)
	}
}

// run works as the pod of that name until it is told to stop or another one leads.
func run(pod, namespace string) error {
	scheme := runtime.NewScheme()
	addTypes(scheme)
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		return err
	}
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), options(scheme, namespace))
	if err != nil {
		return err
	}
	r := &reconciler{Client: mgr.GetClient(), events: mgr.GetEventRecorder("sites"), pod: pod}
	if err := ctrl.NewControllerManagedBy(mgr).For(&Site{}).Owns(&appsv1.Deployment{}).Complete(r); err != nil {
		return err
	}
	if err := ctrl.NewWebhookManagedBy(mgr, &Site{}).WithDefaulter(admitter{}).WithValidator(admitter{}).Complete(); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker()); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

// options watch one namespace. The lease is the library's: another pod leads 15 s after the leader has died.
func options(scheme *runtime.Scheme, namespace string) ctrl.Options {
	return ctrl.Options{
		Scheme:                  scheme,
		Cache:                   cache.Options{DefaultNamespaces: map[string]cache.Config{namespace: {}}},
		Metrics:                 server.Options{BindAddress: "0"},
		HealthProbeBindAddress:  ":8081",
		WebhookServer:           webhook.NewServer(webhook.Options{Port: 9443, CertDir: "/certificates"}),
		LeaderElection:          true,
		LeaderElectionID:        "sites.operators.example",
		LeaderElectionNamespace: namespace,
	}
}
