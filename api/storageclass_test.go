package api

import (
	"strings"
	"testing"
)

const goodStorageClass = `
metadata: {name: fast}
provisioner: Example.com/disk
parameters: {kind: ssd}
allowedTopologies:
- {matchLabelExpressions: [{key: zone, values: [a, b]}]}
- {matchLabelExpressions: [{key: zone, values: [c]}]}
`

func TestStorageClassValidation(t *testing.T) {
	const at = "allowedTopologies[1].matchLabelExpressions"
	runBad(t, "storageclasses.storage.k8s.io", goodStorageClass, []badObject{
		{"no provisioner", []string{"Example.com/disk", "''"}, []string{"provisioner: Required value"}},
		{"provisioner", []string{"Example.com/disk", "a/b/c"}, []string{`provisioner: Invalid value: "a/b/c": a valid label key must consist of`}},
		{"empty key", []string{"kind: ssd", "'': ssd"}, []string{`parameters: Invalid value: "": field can not be empty.`}},
		{"too many", []string{"{kind: ssd}", "{" + strings.Join(manyKeys(513), ", ") + "}"}, []string{"parameters: Too long: may not be more than 512 bytes"}},
		{"too much", []string{"kind: ssd", "kind: " + strings.Repeat("x", 256<<10)}, []string{"parameters: Too long: may not be more than 262144 bytes"}},
		{"reclaim", []string{"parameters", "reclaimPolicy: Recycle\nparameters"}, []string{`reclaimPolicy: Unsupported value: "Recycle": supported values: "Delete", "Retain"`}},
		{"binding", []string{"parameters", "volumeBindingMode: Never\nparameters"}, []string{`volumeBindingMode: Unsupported value: "Never": supported values: "Immediate", "WaitForFirstConsumer"`}},
		{"topology twice", []string{"[c]", "[b, a]"}, []string{at + `: Duplicate value: ""`}},
		{"key twice", []string{"[c]}", "[c]}, {key: zone, values: [d]}"}, []string{at + `[1].key: Duplicate value: "zone"`}},
		{"value twice", []string{"[c]", "[c, c]"}, []string{at + `[0].values[1]: Duplicate value: "c"`}},
		{"no values", []string{"[c]", "[]"}, []string{at + "[0].values: Required value"}},
		{"key", []string{"[c]", "[c]", "key: zone, values: [c]", "key: 'z z', values: [c]"}, []string{at + `[0].key: Invalid value: "z z"`}},
	})
	runUpdates(t, "storageclasses.storage.k8s.io", goodStorageClass, []badObject{
		{"expansion", []string{"parameters", "allowVolumeExpansion: true\nmountOptions: [ro]\nparameters"}, nil},
		{"all the rest", []string{"ssd", "hdd", "com/disk", "com/tape", "parameters", "reclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer\nparameters"}, []string{
			"parameters: Invalid value: null: field is immutable", "provisioner: Invalid value: null: field is immutable",
			"reclaimPolicy: Invalid value: null: field is immutable", "volumeBindingMode: Invalid value: null: field is immutable"}},
	})
}

func manyKeys(n int) (out []string) {
	for i := range n {
		out = append(out, "k"+itoa(i)+": x")
	}
	return out
}

func TestVolumeAttributesClassValidation(t *testing.T) {
	const good = "metadata: {name: gold}\ndriverName: disk.example.com\nparameters: {iops: '9'}"
	runBad(t, "volumeattributesclasses.storage.k8s.io", good, []badObject{
		{"no driver", []string{"disk.example.com", "''"}, []string{"driverName: Required value"}},
		{"driver", []string{"disk.example.com", "'a b'"}, []string{`driverName: Invalid value: "a b"`}},
		{"no parameters", []string{"{iops: '9'}", "{}"}, []string{"parameters: Required value: must contain at least one key/value pair"}},
		{"empty key", []string{"iops", "''"}, []string{`parameters: Invalid value: "": field can not be empty.`}},
	})
	runUpdates(t, "volumeattributesclasses.storage.k8s.io", good, []badObject{
		{"anything", []string{"disk.", "tape.", "'9'", "'8'"}, []string{`driverName: Invalid value: "tape.example.com": field is immutable`, `parameters: Invalid value: {"iops":"8"}: field is immutable`}},
	})
}
