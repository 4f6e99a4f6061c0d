package api

import (
	"bytes"
	"math/rand"
	"reflect"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/randfill"
)

// randomObjects fills objects of a kind with chance, the same each run.
func randomObjects(k *Kind, n int) []runtime.Object {
	filler := randfill.New().RandSource(rand.NewSource(1)).NilChance(0.4).NumElements(1, 3).MaxDepth(20).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(1<<40), resource.DecimalSI)
			_ = q.String() // the cached form is what comes back over the wire
		},
		func(v *intstr.IntOrString, c randfill.Continue) { *v = intstr.FromInt32(c.Int31n(1 << 16)) },
		func(t *metav1.Time, c randfill.Continue) { *t = metav1.Unix(c.Int63n(1<<31), 0) },
		func(t *metav1.MicroTime, c randfill.Continue) {
			*t = metav1.MicroTime{Time: time.Unix(c.Int63n(1<<31), 5000)}
		},
		func(f *metav1.FieldsV1, c randfill.Continue) { f.Raw = []byte(`{}`) },
		func(e *runtime.RawExtension, c randfill.Continue) { e.Raw = []byte(`{}`) },
		// Absent and empty bytes are the same to everyone but a byte comparison.
		func(b *[]byte, c randfill.Continue) { *b = []byte(c.String(4) + "x") },
		func(m *metav1.TypeMeta, c randfill.Continue) {},
		func(r *runtime.RawExtension, c randfill.Continue) { r.Raw = []byte(`{"n":1}`) },
		// What is only ever written does not come back, and old spellings follow the new ones.
		func(s *corev1.Secret, c randfill.Continue) { c.FillNoCustom(s); s.StringData = nil },
		func(s *corev1.PodSpec, c randfill.Continue) { c.FillNoCustom(s); syncServiceAccount(s) },
		// A template inside an object has the type that comes out of the store.
		func(s *appsv1.StatefulSetSpec, c randfill.Continue) {
			c.FillNoCustom(s)
			for i := range s.VolumeClaimTemplates {
				nameClaimTemplate(&s.VolumeClaimTemplates[i])
			}
		},
	)
	out := make([]runtime.Object, n)
	for i := range out {
		out[i] = k.New()
		filler.Fill(out[i])
	}
	return out
}

func forEveryKind(t *testing.T, f func(t *testing.T, k *Kind)) {
	for _, k := range Kinds() {
		t.Run(k.Name, func(t *testing.T) { f(t, k) })
	}
}

func TestTableHoldsTheKinds(t *testing.T) {
	var got []string
	for _, k := range Kinds() {
		got = append(got, k.GroupResource().String())
	}
	want := []string{
		"configmaps", "endpoints", "events", "namespaces", "nodes", "pods", "secrets", "serviceaccounts", "services",
		"deployments.apps", "replicasets.apps", "jobs.batch", "leases.coordination.k8s.io", "endpointslices.discovery.k8s.io",
		"networkpolicies.networking.k8s.io", "ingresses.networking.k8s.io", "ingressclasses.networking.k8s.io", "ipaddresses.networking.k8s.io",
		"servicecidrs.networking.k8s.io", "runtimeclasses.node.k8s.io", "certificatesigningrequests.certificates.k8s.io",
		"clustertrustbundles.certificates.k8s.io", "podcertificaterequests.certificates.k8s.io", "storageversionmigrations.storagemigration.k8s.io",
		"poddisruptionbudgets.policy", "priorityclasses.scheduling.k8s.io",
		"flowschemas.flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
		"deviceclasses.resource.k8s.io", "devicetaintrules.resource.k8s.io", "resourceclaims.resource.k8s.io", "resourceclaimtemplates.resource.k8s.io", "resourceslices.resource.k8s.io",
		"persistentvolumes", "persistentvolumeclaims", "limitranges", "resourcequotas", "storageclasses.storage.k8s.io",
		"volumeattachments.storage.k8s.io", "csidrivers.storage.k8s.io", "csinodes.storage.k8s.io",
		"csistoragecapacities.storage.k8s.io", "volumeattributesclasses.storage.k8s.io",
		"podtemplates", "replicationcontrollers",
		"deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps", "controllerrevisions.apps",
		"horizontalpodautoscalers.autoscaling", "jobs.batch", "cronjobs.batch", "leases.coordination.k8s.io", "endpointslices.discovery.k8s.io",
		"clusterrolebindings.rbac.authorization.k8s.io", "clusterroles.rbac.authorization.k8s.io",
		"rolebindings.rbac.authorization.k8s.io", "roles.rbac.authorization.k8s.io",
		mutatingHooksKind, validatingHooksKind, mutatingKind, "mutatingadmissionpolicybindings.admissionregistration.k8s.io", validatingKind, validatingBoundKind,
		apiServices,
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("kind %s is not registered", w)
		}
	}
}

func TestEveryKindIsWhole(t *testing.T) {
	forEveryKind(t, func(t *testing.T, k *Kind) {
		if k.Singular == "" || k.New == nil || k.NewList == nil || k.Row == nil {
			t.Fatal("names, constructors or row are missing")
		}
		if _, err := meta.ListAccessor(k.NewList()); err != nil {
			t.Errorf("NewList: %v", err)
		}
		if (k.FieldLabels == nil) != (k.Fields == nil) {
			t.Error("field labels without values, or values without labels")
		}
		if k.Fields != nil {
			set := k.Fields(k.New())
			for _, label := range k.FieldLabels {
				if _, ok := set[label]; !ok {
					t.Errorf("label %s has no value", label)
				}
			}
			if len(set) != len(k.FieldLabels) {
				t.Errorf("%d values for %d labels", len(set), len(k.FieldLabels))
			}
		}
		for _, label := range append(k.FieldLabels, "metadata.name", "metadata.namespace") {
			if _, _, err := Scheme.ConvertFieldLabel(k.GroupVersionKind(), label, "x"); err != nil {
				t.Errorf("converting label: %v", err)
			}
		}
		if _, _, err := Scheme.ConvertFieldLabel(k.GroupVersionKind(), "spec.nonsense", "x"); err == nil {
			t.Error("an unknown field label was accepted")
		}
	})
}

// cellTypes says what the cells of a column's type are; a date is its text in RFC 3339.
var cellTypes = map[string]reflect.Type{
	"string": reflect.TypeFor[string](), "date": reflect.TypeFor[string](), "integer": reflect.TypeFor[int64](), "boolean": reflect.TypeFor[bool](),
}

func TestRowHasOneCellAColumn(t *testing.T) {
	forEveryKind(t, func(t *testing.T, k *Kind) {
		for _, obj := range append(randomObjects(k, 50), k.New()) {
			cells := k.Row(obj, time.Unix(1<<31, 0))
			if len(cells) != len(k.Columns) {
				t.Fatalf("%d cells for %d columns", len(cells), len(k.Columns))
			}
			for i, c := range cells {
				if want := cellTypes[k.Columns[i].Type]; want == nil || reflect.TypeOf(c) != want {
					t.Fatalf("column %s is %s, its cell a %T", k.Columns[i].Name, k.Columns[i].Type, c)
				}
			}
		}
	})
}

// TestDefaultingTwiceIsDefaultingOnce: Invariant 8.
func TestDefaultingTwiceIsDefaultingOnce(t *testing.T) {
	forEveryKind(t, func(t *testing.T, k *Kind) {
		for _, obj := range append(randomObjects(k, 200), k.New()) {
			Scheme.Default(obj)
			once := obj.DeepCopyObject()
			Scheme.Default(obj)
			if !equality.Semantic.DeepEqual(once, obj) {
				t.Fatalf("defaulting changed a defaulted object\nonce:  %v\ntwice: %v", once, obj)
			}
		}
	})
}

func TestNothingPanicsOnStrangeObjects(t *testing.T) {
	forEveryKind(t, func(t *testing.T, k *Kind) {
		objects := append(randomObjects(k, 100), k.New())
		for i, obj := range objects {
			Scheme.Default(obj)
			old := objects[(i+1)%len(objects)].DeepCopyObject()
			if k.Validate != nil {
				k.Validate(obj)
			}
			if k.Warnings != nil {
				k.Warnings(obj, nil)
			}
			if k.PrepareForCreate != nil {
				k.PrepareForCreate(obj.DeepCopyObject())
			}
			if k.PrepareForUpdate != nil {
				k.PrepareForUpdate(obj, old)
			}
			if k.ValidateUpdate != nil {
				k.ValidateUpdate(obj, old)
			}
			if k.ValidateStatusUpdate != nil {
				k.ValidateStatusUpdate(obj, old)
			}
		}
	})
}

func TestEncodingComesBack(t *testing.T) {
	forEveryKind(t, func(t *testing.T, k *Kind) {
		for _, obj := range randomObjects(k, 50) {
			b, err := Encode(obj)
			if err != nil {
				t.Fatal(err)
			}
			got, err := Decode(k.GroupResource(), b)
			if err != nil {
				t.Fatal(err)
			}
			if !equality.Semantic.DeepEqual(obj, got) {
				t.Fatalf("protobuf changed the object\nsent: %v\ngot:  %v", obj, got)
			}
			again, err := Encode(got)
			if err != nil || !bytes.Equal(b, again) {
				t.Fatalf("equal objects have unequal bytes (%v)", err)
			}
		}
	})
}

func TestJSONComesBack(t *testing.T) {
	forEveryKind(t, func(t *testing.T, k *Kind) {
		for _, obj := range randomObjects(k, 50) {
			b, err := json.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			got := k.New()
			if err := json.Unmarshal(b, got); err != nil {
				t.Fatal(err)
			}
			if !equality.Semantic.DeepEqual(obj, got) {
				t.Fatalf("JSON changed the object\nsent: %v\ngot:  %v", obj, got)
			}
		}
	})
}

// The version of storage is the version of the wire, so a codec must hand objects through.
func TestCodecsHandThrough(t *testing.T) {
	forEveryKind(t, func(t *testing.T, k *Kind) {
		codec := Codecs.LegacyCodec(k.GroupVersion)
		for _, obj := range randomObjects(k, 20) {
			Scheme.Default(obj)
			b, err := runtime.Encode(codec, obj)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runtime.Decode(codec, b)
			if err != nil {
				t.Fatal(err)
			}
			got.GetObjectKind().SetGroupVersionKind(obj.GetObjectKind().GroupVersionKind())
			if !equality.Semantic.DeepEqual(obj, got) {
				t.Fatalf("the codec changed the object\nsent: %v\ngot:  %v", obj, got)
			}
		}
	})
}

func TestDecodeRefuses(t *testing.T) {
	if _, err := Decode(corev1.Resource("pods"), []byte{0xff}); err == nil {
		t.Error("broken bytes were decoded")
	}
	if _, err := Decode(corev1.Resource("unicorns"), nil); err == nil {
		t.Error("an unknown resource was decoded")
	}
}
