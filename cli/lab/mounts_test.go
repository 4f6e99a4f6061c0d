package lab

import "testing"

func TestMountPoint(t *testing.T) {
	for line, want := range map[string]string{
		"36 35 98:0 / /lab/a rw - ext4 /dev/x rw":                                                              "/lab/a",
		`36 35 98:0 / /lab/a\040b rw shared:1 - tmpfs tmpfs rw`:                                                "/lab/a b",
		"36 35 98:0 / /lab2/a rw - ext4 /dev/x rw":                                                             "",
		"36 35 98:0 / /lab rw - ext4 /dev/x rw":                                                                "",
		"36 35 0:7 / /run/peapod/x/y rw - overlay overlay rw,lowerdir=/l,upperdir=/lab/n/upper,workdir=/lab/w": "/run/peapod/x/y",
		"36 35 0:7 / /run/peapod/x/z rw - overlay overlay rw,lowerdir=/lab/l,upperdir=/other/u,workdir=/o/w":   "",
		"": "",
	} {
		if got := mountPoint(line, "/lab"); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
