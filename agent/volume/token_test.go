package volume

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func tokenOf(issued time.Time, life time.Duration) []byte {
	body := fmt.Sprintf(`{"iat":%d,"exp":%d}`, issued.Unix(), issued.Add(life).Unix())
	return []byte("e30." + base64.RawURLEncoding.EncodeToString([]byte(body)) + ".sig")
}

func TestYoungToken(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		token []byte
		young bool
	}{
		"new":              {tokenOf(now, time.Hour), true},
		"in its prime":     {tokenOf(now.Add(-47*time.Minute), time.Hour), true},
		"nearly over":      {tokenOf(now.Add(-49*time.Minute), time.Hour), false},
		"over":             {tokenOf(now.Add(-2*time.Hour), time.Hour), false},
		"long, of today":   {tokenOf(now.Add(-23*time.Hour), 1000*time.Hour), true},
		"long, a day old":  {tokenOf(now.Add(-25*time.Hour), 1000*time.Hour), false},
		"not a token":      {[]byte("abc"), false},
		"nothing":          {nil, false},
		"not JSON inside":  {[]byte("a.YWJj.c"), false},
		"not base64 there": {[]byte("a.!.c"), false},
	} {
		if got := youngToken(c.token, now); got != c.young {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// mint counts the tokens that it issues.
type mint struct {
	Source
	age    time.Duration
	issued int
}

func (m *mint) TrustBundle(context.Context, string) (string, bool, error) { return "", false, nil }

func (m *mint) Token(context.Context, *corev1.Pod, string, int64) ([]byte, bool, error) {
	m.issued++
	return append(tokenOf(time.Now().Add(-m.age), time.Hour), byte('0'+m.issued)), true, nil
}

func TestTokenIsKeptWhileYoung(t *testing.T) {
	for _, c := range []struct {
		age  time.Duration
		want int
	}{{0, 1}, {50 * time.Minute, 3}} {
		m := &mint{age: c.age}
		s := &Store{Root: t.TempDir(), Source: m}
		t.Cleanup(func() { _ = s.Remove("u") })
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}}}}}}}}
		for range 3 {
			if err := s.Refresh(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(filepath.Join(s.Dir("u", "v"), "token"))
		if err != nil || m.issued != c.want || b[len(b)-1] != byte('0'+c.want) {
			t.Errorf("age %v: %d issued, file %s, %v", c.age, m.issued, b, err)
		}
	}
}
