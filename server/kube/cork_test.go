package kube

import (
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// What is held back leaves in one piece and in order, with what others write before and after.
func TestCorkedConnectionKeepsOrder(t *testing.T) {
	ours, theirs := net.Pipe() // which gives its reader one write at a time
	c := &corkConn{Conn: ours}
	go func() {
		defer ours.Close()
		_, _ = c.Write([]byte("a"))
		c.cork()
		for _, s := range []string{"b", "c", "d"} {
			_, _ = c.Write([]byte(s))
		}
		if err := c.uncork(); err != nil {
			t.Error(err)
		}
		_, _ = c.Write([]byte("e"))
	}()
	var got []string
	b := make([]byte, 16)
	for {
		n, err := theirs.Read(b)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(b[:n]))
	}
	if want := []string{"a", "bcd", "e"}; !slices.Equal(got, want) {
		t.Errorf("the client read %q, want %q", got, want)
	}
}

// Whoever is cut off while held back bytes are written is told.
func TestCorkedConnectionFails(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := &corkConn{Conn: ours}
	c.cork()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.SetWriteDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if c.uncork() == nil {
		t.Error("nobody reads, and the deadline is over, but uncorking has no error")
	}
}
