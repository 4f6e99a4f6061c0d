package demo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	defaultPort     = "8080"
	drainTime       = 20 * time.Second // of requests under way at TERM; below the usual grace of 30 s
	headerTime      = 10 * time.Second
	quietTime       = 100 * time.Millisecond // without a new connection or request, before no more are taken
	quietTimeMax    = 5 * time.Second
	lookTime        = 5 * time.Millisecond
	quietLooks      = 3 // that find nothing new, one after the other
	allocMBMax      = 64 << 10
	linesMax        = 1_000_000
	bytesMax        = 16 << 30
	millisecondsMax = 3_600_000
)

// web is the server's state: how it has been told to misbehave.
type web struct {
	port     string
	failCode atomic.Int64 // what / answers; 0 is well
	unready  atomic.Bool
	stall    atomic.Int64 // milliseconds before / answers
	quiet    bool
	lately   atomic.Int64 // when a connection or request came last, in nanoseconds since 1970
	mu       sync.Mutex
	hoard    [][]byte // what /alloc took
	exit     chan int
}

const usage = `demo: a small web server that shows where it runs. Flags: -p PORT (or environment PORT).
  /                the request, the pod, the environment (JSON with Accept: application/json)
  /healthz /readyz health; readiness ends at /unready and at TERM, and comes back with /ready
                   (gRPC health checks are answered as /healthz is, on the same port)
  /fail?code=503   from now on / and /healthz answer so; code=0 heals
  /stall?ms=1000   answer later; with always=1 from now on / does
  /exit?code=1     end the process        /write?lines=10&text=hello   to standard output
  /alloc?mb=64     take memory; mb=0 frees /burn?ms=1000                compute
  /bytes?n=1000000 a big body
Environment: DEMO_FAIL=CODE, DEMO_STALL_MS, DEMO_UNREADY_MS (at start), DEMO_EXIT_MS and DEMO_EXIT_CODE, DEMO_QUIET=1.
`

// serve is the image's entrypoint.
func serve(c *call) int {
	o, err := parse(c.args, "hp:", map[string]string{"port": "p", "help": "h"})
	if err != nil || len(o.rest) > 0 {
		return c.misuse("%v %s\n%s", err, strings.Join(o0(o), " "), usage)
	}
	if o.has("h") {
		fmt.Fprint(c.out, usage)
		return 0
	}
	debug.SetGCPercent(40) // little memory matters more here than little work
	w := &web{port: cmp.Or(o.value["p"], os.Getenv("PORT"), defaultPort), quiet: os.Getenv("DEMO_QUIET") != "", exit: make(chan int, 1)}
	if err := w.configure(); err != nil {
		return c.fail(err)
	}
	return w.run(c)
}

func o0(o *options) []string {
	if o == nil {
		return nil
	}
	return o.rest
}

// configure reads from the environment what the paths can also tell.
func (w *web) configure() error {
	var v [4]int64
	for i, name := range []string{"DEMO_FAIL", "DEMO_STALL_MS", "DEMO_UNREADY_MS", "DEMO_EXIT_MS"} {
		s := os.Getenv(name)
		if s == "" {
			continue
		}
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 || n > millisecondsMax {
			return fmt.Errorf("environment %s=%q: want a number from 0 to %d", name, s, millisecondsMax)
		}
		v[i] = n
	}
	w.failCode.Store(v[0])
	w.stall.Store(v[1])
	if v[2] > 0 {
		w.unready.Store(true)
		time.AfterFunc(time.Duration(v[2])*time.Millisecond, func() { w.unready.Store(false) })
	}
	if v[3] > 0 {
		code, _ := strconv.Atoi(os.Getenv("DEMO_EXIT_CODE")) // 0 if unset
		time.AfterFunc(time.Duration(v[3])*time.Millisecond, func() { w.exit <- code })
	}
	return nil
}

func (w *web) run(c *call) int {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	l, err := net.Listen("tcp", ":"+w.port) // both address families
	if err != nil {
		return c.fail(fmt.Errorf("listening on port %s: %w", w.port, err))
	}
	srv := w.server()
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(l) }()             // ends with Shutdown below, or with the process
	_, port, _ := net.SplitHostPort(l.Addr().String()) // a listener's own address is well formed
	if d, err := net.ListenPacket("udp", ":"+port); err == nil {
		defer d.Close()
		go answerDatagrams(d) // ends when that is closed
	}
	fmt.Printf("demo: %s on %s listens on port %s\n", place().Pod, cmp.Or(place().Node, "an unnamed node"), port)
	select {
	case err := <-failed:
		return c.fail(err)
	case code := <-w.exit:
		fmt.Printf("demo: exits with %d as told\n", code)
		return code
	case s := <-stop:
		return w.drain(srv, s)
	}
}

func (w *web) server() *http.Server {
	srv := &http.Server{Handler: w.handler(), ReadHeaderTimeout: headerTime, Protocols: new(http.Protocols)}
	srv.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew || s == http.StateActive {
			w.lately.Store(time.Now().UnixNano())
		}
	}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true) // for gRPC
	return srv
}

// answerDatagrams tells whoever sends anything by UDP which pod this is and who it is.
func answerDatagrams(d net.PacketConn) {
	b := make([]byte, 1500)
	for {
		_, from, err := d.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = d.WriteTo(fmt.Appendf(nil, "pod         %s\nclient      %s\n", place().Pod, from), from)
	}
}

// drain finishes the requests under way. Go's server drops what it has accepted and not read when it shuts down, so it serves on until
// nothing has come for a moment, and tells clients meanwhile not to use their connections again. On a busy machine that moment may have
// passed without the process, and connections wait to be accepted that closing the listener would break: it looks more than once.
func (w *web) drain(srv *http.Server, s os.Signal) int {
	w.unready.Store(true)
	fmt.Printf("demo: %v: finishing requests\n", s)
	srv.SetKeepAlivesEnabled(false)
	end := time.Now().Add(quietTimeMax)
	for quiet := 0; quiet < quietLooks && time.Now().Before(end); quiet++ {
		time.Sleep(lookTime)
		if time.Since(time.Unix(0, w.lately.Load())) < quietTime {
			quiet = -1
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		fmt.Printf("demo: gave up on requests after %v\n", drainTime)
		return 1
	}
	fmt.Println("demo: done")
	return 0
}

func (w *web) handler() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("/", w.echo)
	m.HandleFunc("/healthz", w.health)
	m.HandleFunc("/readyz", w.ready)
	m.HandleFunc("POST /grpc.health.v1.Health/Check", w.grpcHealth)
	m.HandleFunc("/ready", func(rw http.ResponseWriter, _ *http.Request) { w.setReady(rw, true) })
	m.HandleFunc("/unready", func(rw http.ResponseWriter, _ *http.Request) { w.setReady(rw, false) })
	m.HandleFunc("/fail", w.told("code", 503, 599, w.fail))
	m.HandleFunc("/stall", w.told("ms", 1000, millisecondsMax, w.stallNow))
	m.HandleFunc("/exit", w.told("code", 0, 255, w.exitNow))
	m.HandleFunc("/write", w.told("lines", 1, linesMax, w.write))
	m.HandleFunc("/alloc", w.told("mb", 1, allocMBMax, w.alloc))
	m.HandleFunc("/burn", w.told("ms", 1000, millisecondsMax, w.burn))
	m.HandleFunc("/bytes", w.told("n", 1<<20, bytesMax, w.bytes))
	if w.quiet {
		return m
	}
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" && r.URL.Path != "/readyz" {
			fmt.Printf("%s %s %s %s\n", time.Now().UTC().Format(time.RFC3339), r.RemoteAddr, r.Method, strconv.Quote(r.URL.String()))
		}
		m.ServeHTTP(rw, r)
	})
}

// told wraps a handler that takes one number from the query, within 0 and max.
func (w *web) told(key string, def, max int64, do func(http.ResponseWriter, *http.Request, int64)) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		n := def
		if s := r.URL.Query().Get(key); s != "" {
			var err error
			if n, err = strconv.ParseInt(s, 10, 64); err != nil || n < 0 || n > max {
				http.Error(rw, fmt.Sprintf("%s=%s: want a number from 0 to %d", key, s, max), http.StatusBadRequest)
				return
			}
		}
		do(rw, r, n)
	}
}

func (w *web) fail(rw http.ResponseWriter, _ *http.Request, code int64) {
	if code != 0 && code < 200 {
		http.Error(rw, "code: want 0 or a status from 200 to 599", http.StatusBadRequest)
		return
	}
	w.failCode.Store(code)
	fmt.Fprintf(rw, "from now on %d\n", code)
}

// wait sleeps unless the client goes away.
func wait(r *http.Request, ms int64) {
	t := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

func (w *web) stallNow(rw http.ResponseWriter, r *http.Request, ms int64) {
	if r.URL.Query().Get("always") != "" {
		w.stall.Store(ms)
	} else {
		wait(r, ms)
	}
	fmt.Fprintf(rw, "stalled %d ms\n", ms)
}

func (w *web) exitNow(rw http.ResponseWriter, _ *http.Request, code int64) {
	fmt.Fprintf(rw, "exits with %d\n", code)
	http.NewResponseController(rw).Flush()
	select {
	case w.exit <- int(code):
	default: // it exits already
	}
}

func (w *web) write(rw http.ResponseWriter, r *http.Request, lines int64) {
	text := cmp.Or(r.URL.Query().Get("text"), "a line as told")
	for n := range lines {
		fmt.Println(n+1, text)
	}
	fmt.Fprintf(rw, "wrote %d lines\n", lines)
}

func (w *web) alloc(rw http.ResponseWriter, _ *http.Request, mb int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if mb == 0 {
		w.hoard = nil
		debug.FreeOSMemory()
	}
	for range mb {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1 // an untouched page costs nothing
		}
		w.hoard = append(w.hoard, b)
	}
	fmt.Fprintf(rw, "holding %d MiB\n", len(w.hoard))
}

func (w *web) burn(rw http.ResponseWriter, r *http.Request, ms int64) {
	rounds := 0
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end) && r.Context().Err() == nil; rounds++ {
	}
	fmt.Fprintf(rw, "burned %d ms in %d rounds\n", ms, rounds)
}

func (w *web) bytes(rw http.ResponseWriter, _ *http.Request, n int64) {
	rw.Header().Set("Content-Type", "application/octet-stream")
	rw.Header().Set("Content-Length", strconv.FormatInt(n, 10))
	_, _ = io.CopyN(rw, filler{}, n) // the client may have had enough
}

// filler reads as an endless row of x.
type filler struct{}

func (filler) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func (w *web) health(rw http.ResponseWriter, _ *http.Request) {
	if code := w.failCode.Load(); code != 0 {
		http.Error(rw, "told to fail", int(code))
		return
	}
	fmt.Fprintln(rw, "ok")
}

// grpcHealth answers gRPC's health check (https://grpc.io/docs/guides/health-checking/) as /healthz does.
func (w *web) grpcHealth(rw http.ResponseWriter, r *http.Request) {
	const serving, notServing = 1, 2
	status := byte(serving)
	if w.failCode.Load() != 0 {
		status = notServing
	}
	rw.Header().Set("Content-Type", "application/grpc")
	rw.Header().Set("Trailer", "Grpc-Status")
	_, _ = rw.Write([]byte{0, 0, 0, 0, 2, 1 << 3, status}) // not compressed, two bytes: field 1, the status
	rw.Header().Set("Grpc-Status", "0")
}

func (w *web) ready(rw http.ResponseWriter, r *http.Request) {
	if w.unready.Load() {
		http.Error(rw, "not ready", http.StatusServiceUnavailable)
		return
	}
	w.health(rw, r)
}

func (w *web) setReady(rw http.ResponseWriter, ready bool) {
	w.unready.Store(!ready)
	fmt.Fprintf(rw, "ready: %v\n", ready)
}

// answer is what / tells.
type answer struct {
	Request     string              `json:"request"`
	Host        string              `json:"host"`
	Client      string              `json:"client"`
	Pod         string              `json:"pod"`
	Namespace   string              `json:"namespace,omitempty"`
	Node        string              `json:"node,omitempty"`
	PodIP       string              `json:"podIP,omitempty"`
	Headers     map[string][]string `json:"headers"`
	Environment []string            `json:"environment"`
}

func (w *web) echo(rw http.ResponseWriter, r *http.Request) {
	wait(r, w.stall.Load())
	if code := w.failCode.Load(); code != 0 {
		http.Error(rw, "told to fail", int(code))
		return
	}
	a := place()
	a.Request = r.Method + " " + r.URL.RequestURI() + " " + r.Proto
	a.Host, a.Client, a.Headers = r.Host, r.RemoteAddr, r.Header
	a.Environment = os.Environ()
	slices.Sort(a.Environment)
	if strings.Contains(r.Header.Get("Accept"), "application/json") {
		rw.Header().Set("Content-Type", "application/json")
		e := json.NewEncoder(rw)
		e.SetIndent("", "  ")
		_ = e.Encode(a) // only the connection can fail
		return
	}
	rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(rw, a.text())
}

func (a answer) text() string {
	var b strings.Builder
	line := func(k, v string) {
		if v != "" {
			fmt.Fprintf(&b, "%-11s %s\n", k, v)
		}
	}
	line("request", a.Request)
	line("host", a.Host)
	line("client", a.Client)
	line("pod", a.Pod)
	line("namespace", a.Namespace)
	line("node", a.Node)
	line("pod IP", a.PodIP)
	b.WriteString("\nheaders\n")
	keys := make([]string, 0, len(a.Headers))
	for k := range a.Headers {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(&b, "  %s: %s\n", k, strings.Join(a.Headers[k], ", "))
	}
	b.WriteString("\nenvironment\n")
	for _, e := range a.Environment {
		fmt.Fprintf(&b, "  %s\n", e)
	}
	return b.String()
}

const namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"

// place is where this runs: from the environment (the downward API), or what the machine itself says.
func place() answer {
	host, _ := os.Hostname() // "" if the kernel will not tell
	ns := os.Getenv("POD_NAMESPACE")
	if b, err := os.ReadFile(namespaceFile); ns == "" && err == nil {
		ns = strings.TrimSpace(string(b))
	}
	return answer{
		Pod: cmp.Or(os.Getenv("POD_NAME"), host), Namespace: ns,
		Node: os.Getenv("NODE_NAME"), PodIP: cmp.Or(os.Getenv("POD_IP"), firstAddress()),
	}
}

var errNoAddress = errors.New("no address")

func firstAddress() string {
	a, err := globalAddress()
	if err != nil {
		return ""
	}
	return a.String()
}

func globalAddress() (net.IP, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			return n.IP, nil
		}
	}
	return nil, errNoAddress
}
