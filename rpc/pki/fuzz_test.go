package pki

import (
	"bytes"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

// FuzzParseToken: a token that is taken is the text that String writes.
func FuzzParseToken(f *testing.F) {
	token := Token{ID: "01234567", Secret: strings.Repeat("ab", 16), CAHash: strings.Repeat("cd", 32)}
	f.Add(token.String())
	f.Add(" " + token.String() + "\n")
	f.Add(strings.ToUpper(token.String()))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseToken(text)
		if err == nil && got.String() != strings.TrimSpace(text) {
			t.Fatalf("%q is read as %q", text, got)
		}
	})
}

// FuzzPEM: whatever stands in a PEM text, it is refused or means the same when it is written again; and what a stranger's request gets
// signed is no identity of the cluster's own.
func FuzzPEM(f *testing.F) {
	ca, err := NewCA("test", time.Now())
	if err != nil {
		f.Fatal(err)
	}
	request, key, err := NewRequest(Peer{Role: RoleNode, Name: "n1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add(key)
	f.Add(ca.CertPEM())
	f.Add(append(append([]byte("text\n"), key...), request...))
	f.Fuzz(func(t *testing.T, text []byte) {
		if cert, err := ParseCert(text); err == nil {
			again, err := ParseCert(EncodeCert(cert.Raw))
			if err != nil || !bytes.Equal(cert.Raw, again.Raw) {
				t.Errorf("a certificate came back as another one, %v", err)
			}
		}
		if key, err := ParseKey(text); err == nil {
			b, err := EncodeKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ParseKey(b); err != nil || !key.Equal(again) {
				t.Errorf("a key came back as another one, %v", err)
			}
		}
		r, err := ParseUserRequest(text)
		if err != nil {
			return
		}
		signed, err := ca.SignUser(r, x509.KeyUsageDigitalSignature, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, time.Hour, time.Now())
		if err != nil {
			return
		}
		cert, err := ParseCert(signed)
		if err != nil {
			t.Fatal(err)
		}
		if cert.IsCA || !bytes.Equal(cert.RawSubject, r.parsed.RawSubject) && cert.Subject.CommonName != r.Subject().CommonName {
			t.Errorf("signed for somebody else: %v instead of %v", cert.Subject, r.Subject())
		}
		for _, u := range cert.URIs {
			if u.Scheme == uriScheme {
				t.Errorf("signed as a peer: %v", u)
			}
		}
	})
}
