package sim

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/peapod-sh/peapod/api"
	"github.com/peapod-sh/peapod/api/ops"
	"github.com/peapod-sh/peapod/sched/reconcile"
)

// Writers are the ReplicaSets of one pod with a claim of one writer; the pods of Web may be many. Of the StatefulSets one comes and
// goes pod by pod, each with a claim of its own; the other's pods have only their names.
const (
	writers = 2
	web     = 3
	ordered = "kv"
	burst   = "mq"
	members = 2 // of each StatefulSet
)

// furnish is the first entry of every log: nodes, claims with their volumes, and who makes pods.
func (c *cluster) furnish() []byte {
	var list []ops.Op
	put := func(gr schema.GroupResource, o runtime.Object) {
		m := o.(metav1.Object)
		m.SetUID(types.UID("uid-" + m.GetName()))
		list = append(list, &ops.Put{Resource: gr, Object: o, Expect: ops.Absent})
	}
	store := func(name string) {
		claim, volume := storageOf(name)
		c.objects["claim/"+name], c.objects["volume/"+name] = claim.DeepCopy(), volume.DeepCopy()
		put(reconcile.Claims, claim)
		put(reconcile.Volumes, volume)
	}
	put(reconcile.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}})
	for i := range 4 {
		put(reconcile.Nodes, nodeObject(fmt.Sprintf("n%d", i+1)))
	}
	for i := range writers {
		name := fmt.Sprintf("db%d", i)
		store(name)
		put(reconcile.ReplicaSets, replicaSet(name, 1, name))
	}
	put(reconcile.ReplicaSets, replicaSet("web", web, ""))
	if c.options.Sets {
		for i := range members {
			store(fmt.Sprintf("data-%s-%d", ordered, i))
		}
		put(reconcile.StatefulSets, statefulSet(ordered, appsv1.OrderedReadyPodManagement, "data"))
		put(reconcile.StatefulSets, statefulSet(burst, appsv1.ParallelPodManagement))
	}
	if c.options.Scaled {
		put(reconcile.Deployments, scaledDeployment())
		put(reconcile.Autoscalers, scaledAutoscaler())
		put(reconcile.Budgets, scaledBudget())
	}
	b, err := ops.Encode(list)
	if err != nil {
		panic(err)
	}
	return b
}

func nodeObject(name string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{api.NodeFencesAnnotation: "true"}}}
	n.Status.Allocatable = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110")}
	return n
}

// Claim implements api.Storage.
func (c *cluster) Claim(_, name string) (*corev1.PersistentVolumeClaim, error) {
	o, _ := c.objects["claim/"+name].(*corev1.PersistentVolumeClaim)
	return o, nil
}

// Volume implements api.Storage.
func (c *cluster) Volume(name string) (*corev1.PersistentVolume, error) {
	o, _ := c.objects["volume/"+name].(*corev1.PersistentVolume)
	return o, nil
}

func storageOf(name string) (*corev1.PersistentVolumeClaim, *corev1.PersistentVolume) {
	once := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: claimSpec(name)}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{AccessModes: once, Capacity: claim.Spec.Resources.Requests,
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain, PersistentVolumeSource: corev1.PersistentVolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/shared"}}}}
	return claim, volume
}

// claimSpec wants one writer's volume of no class.
func claimSpec(volume string) corev1.PersistentVolumeClaimSpec {
	none, size := "", corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	return corev1.PersistentVolumeClaimSpec{AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &none,
		VolumeName: volume, Resources: corev1.VolumeResourceRequirements{Requests: size}}
}

func replicaSet(name string, replicas int32, claim string) *appsv1.ReplicaSet {
	t := template(name)
	if claim != "" {
		t.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}}
	}
	return &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 1},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t}}
}

func statefulSet(name string, policy appsv1.PodManagementPolicyType, claims ...string) *appsv1.StatefulSet {
	t, replicas, history := template(name), int32(members), int32(10)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 1},
		Spec: appsv1.StatefulSetSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: t.Labels}, Template: t, PodManagementPolicy: policy,
			RevisionHistoryLimit: &history, UpdateStrategy: appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}}}
	for _, c := range claims {
		set.Spec.VolumeClaimTemplates = append(set.Spec.VolumeClaimTemplates, corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: c}, Spec: claimSpec("")})
	}
	return set
}

func template(name string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
}
