package nodehttp

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
)

// dial connects to an address that this node reaches and becomes that connection.
func (h *handler) dial(w http.ResponseWriter, r *http.Request) {
	d := net.Dialer{Timeout: dialTimeout}
	out, err := d.DialContext(r.Context(), "tcp", r.PathValue("address"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	in, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer in.Close()
	if _, err := fmt.Fprint(in, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"); err != nil {
		return // whoever asked has gone
	}
	join(r.Context(), in, buffered, out)
}

// join copies both ways until both have ended. early may hold what came in before in became a plain connection.
func join(ctx context.Context, in net.Conn, early io.Reader, out net.Conn) {
	stop := context.AfterFunc(ctx, func() { in.Close(); out.Close() })
	defer stop()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(out, early) // an end of either side ends that way, whatever the reason
		closeWrite(out)
	})
	_, _ = io.Copy(in, out)
	closeWrite(in)
	up.Wait()
}

func closeWrite(c net.Conn) {
	if h, ok := c.(interface{ CloseWrite() error }); ok {
		_ = h.CloseWrite() // the other end may be gone already
		return
	}
	c.Close()
}
