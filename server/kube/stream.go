package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/generic/registry"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
	translator "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// streams is what the subresources share whose traffic goes to the pod's node: exec, attach,
// port-forward and log. The node's handler speaks HTTP/1.1 with SPDY upgrades at
//
//	/exec/NAMESPACE/POD/CONTAINER?command=..&input=1&output=1&error=1&tty=1   (attach has no command)
//	/portforward/NAMESPACE/POD
//	/logs/NAMESPACE/POD/CONTAINER?follow=true&...                             (as PodLogOptions)
//
// Newer client protocols (WebSocket v5, port-forward tunnelled through WebSocket) end here.
type streams struct {
	store *registry.Store
	nodes NodeTransport
}

// target is a pod on a node, and a way there.
type target struct {
	pod       *corev1.Pod
	transport *http.Transport
}

func (s streams) target(ctx context.Context, name string) (*target, error) {
	obj, err := s.store.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	p := obj.(*corev1.Pod)
	if p.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", name))
	}
	if s.nodes == nil {
		return nil, apierrors.NewServiceUnavailable("this server has no way to the nodes")
	}
	return &target{p, nodeClient(s.nodes, p.Spec.NodeName)}, nil
}

func (t *target) location(verb string, parts []string, q url.Values) *url.URL {
	path := "/" + strings.Join(append([]string{verb, t.pod.Namespace, t.pod.Name}, parts...), "/")
	return &url.URL{Scheme: "http", Host: t.pod.Spec.NodeName, Path: path, RawQuery: q.Encode()}
}

// container settles which container is meant: the one named, the annotated default, or the only one.
func (t *target) container(name string) (string, error) {
	all := containerNames(t.pod)
	if name == "" {
		name = t.pod.Annotations["kubectl.kubernetes.io/default-container"]
	}
	switch {
	case name == "" && len(t.pod.Spec.Containers) == 1:
		return t.pod.Spec.Containers[0].Name, nil
	case name == "":
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", t.pod.Name, all))
	case !slices.Contains(all, name):
		return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, t.pod.Name))
	}
	return name, nil
}

func containerNames(p *corev1.Pod) []string {
	var out []string
	for _, c := range p.Spec.Containers {
		out = append(out, c.Name)
	}
	for _, c := range p.Spec.InitContainers {
		out = append(out, c.Name)
	}
	for _, c := range p.Spec.EphemeralContainers {
		out = append(out, c.Name)
	}
	return out
}

// wanted says which streams a client asked for.
type wanted struct{ stdin, stdout, stderr, tty bool }

func (w wanted) query() url.Values {
	q := url.Values{}
	for name, on := range map[string]bool{"input": w.stdin, "output": w.stdout, "error": w.stderr && !w.tty, "tty": w.tty} {
		if on {
			q.Set(name, "1")
		}
	}
	return q
}

// terminal connects a client's exec or attach to the node.
func (t *target) terminal(verb, container string, w wanted, q url.Values, r rest.Responder) (http.Handler, error) {
	container, err := t.container(container)
	if err != nil {
		return nil, err
	}
	if t.pod.Status.Phase == corev1.PodSucceeded || t.pod.Status.Phase == corev1.PodFailed {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("cannot exec into a container in a completed pod; current phase is %s", t.pod.Status.Phase))
	}
	if !w.stdin && !w.stdout && !w.stderr {
		return nil, apierrors.NewBadRequest("you must specify at least one of stdin, stdout, stderr")
	}
	for k, v := range w.query() {
		q[k] = v
	}
	to := t.location(verb, []string{container}, q)
	plain := t.upgrading(to, r)
	modern := translator.NewStreamTranslatorHandler(to, t.transport, 0, translator.Options{Stdin: w.stdin, Stdout: w.stdout, Stderr: w.stderr && !w.tty, Tty: w.tty})
	return translator.NewTranslatingHandler(plain, modern, wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
}

// upgrading passes a request and its upgraded connection on as they are.
func (t *target) upgrading(to *url.URL, r rest.Responder) *proxy.UpgradeAwareHandler {
	h := proxy.NewUpgradeAwareHandler(to, t.transport, false, true, proxy.NewErrorResponder(r))
	h.UseLocationHost = true
	return h
}

// upgradeMethods: WebSocket asks with GET, SPDY with POST.
var upgradeMethods = []string{http.MethodGet, http.MethodPost}

type podExec struct{ streams }

var _ rest.Connecter = (*podExec)(nil)

func (e *podExec) New() runtime.Object      { return &corev1.PodExecOptions{} }
func (e *podExec) Destroy()                 {}
func (e *podExec) ConnectMethods() []string { return upgradeMethods }
func (e *podExec) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodExecOptions{}, false, ""
}

func (e *podExec) Connect(ctx context.Context, name string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	o := options.(*corev1.PodExecOptions)
	if len(o.Command) == 0 {
		return nil, apierrors.NewBadRequest("you must specify at least one command for the container")
	}
	t, err := e.target(ctx, name)
	if err != nil {
		return nil, err
	}
	return t.terminal("exec", o.Container, wanted{o.Stdin, o.Stdout, o.Stderr, o.TTY}, url.Values{"command": o.Command}, r)
}

type podAttach struct{ streams }

var _ rest.Connecter = (*podAttach)(nil)

func (a *podAttach) New() runtime.Object      { return &corev1.PodAttachOptions{} }
func (a *podAttach) Destroy()                 {}
func (a *podAttach) ConnectMethods() []string { return upgradeMethods }
func (a *podAttach) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodAttachOptions{}, false, ""
}

func (a *podAttach) Connect(ctx context.Context, name string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	o := options.(*corev1.PodAttachOptions)
	t, err := a.target(ctx, name)
	if err != nil {
		return nil, err
	}
	return t.terminal("attach", o.Container, wanted{o.Stdin, o.Stdout, o.Stderr, o.TTY}, url.Values{}, r)
}

type podPortForward struct{ streams }

var _ rest.Connecter = (*podPortForward)(nil)

func (f *podPortForward) New() runtime.Object      { return &corev1.PodPortForwardOptions{} }
func (f *podPortForward) Destroy()                 {}
func (f *podPortForward) ConnectMethods() []string { return upgradeMethods }
func (f *podPortForward) NewConnectOptions() (runtime.Object, bool, string) {
	return &corev1.PodPortForwardOptions{}, false, ""
}

func (f *podPortForward) Connect(ctx context.Context, name string, options runtime.Object, r rest.Responder) (http.Handler, error) {
	o := options.(*corev1.PodPortForwardOptions)
	t, err := f.target(ctx, name)
	if err != nil {
		return nil, err
	}
	q := url.Values{}
	for _, p := range o.Ports {
		q.Add("port", strconv.Itoa(int(p)))
	}
	plain := t.upgrading(t.location("portforward", nil, q), r)
	return translator.NewTranslatingHandler(plain, translator.NewTunnelingHandler(plain), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
}

type podLog struct{ streams }

var (
	_ rest.GetterWithOptions = (*podLog)(nil)
	_ rest.StorageMetadata   = (*podLog)(nil)
)

func (l *podLog) New() runtime.Object { return &corev1.Pod{} }
func (l *podLog) Destroy()            {}

// ProducesMIMETypes says that logs are text.
func (l *podLog) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

// ProducesObject says the same to OpenAPI.
func (l *podLog) ProducesObject(string) any { return "" }

func (l *podLog) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

func (l *podLog) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o := options.(*corev1.PodLogOptions)
	if err := checkLogOptions(o); err != nil {
		return nil, err
	}
	t, err := l.target(ctx, name)
	if err != nil {
		return nil, err
	}
	container, err := t.container(o.Container)
	if err != nil {
		return nil, err
	}
	return logStreamer{&genericrest.LocationStreamer{
		Location:        t.location("logs", []string{container}, logQuery(o)),
		Transport:       t.transport,
		ContentType:     "text/plain",
		Flush:           o.Follow,
		ResponseChecker: logChecker{name},
		RedirectChecker: genericrest.PreventRedirects,
	}}, nil
}

// logStreamer reads a log from its node, for the library's copy into a WebSocket, too, which drops data that comes
// together with the end.
type logStreamer struct{ *genericrest.LocationStreamer }

func (l logStreamer) InputStream(ctx context.Context, version, accept string) (io.ReadCloser, bool, string, error) {
	in, flush, contentType, err := l.LocationStreamer.InputStream(ctx, version, accept)
	if in != nil {
		in = &endApart{ReadCloser: in}
	}
	return in, flush, contentType, err
}

// endApart never gives data and an error at once.
type endApart struct {
	io.ReadCloser
	end error
}

func (e *endApart) Read(b []byte) (int, error) {
	if e.end != nil {
		return 0, e.end
	}
	n, err := e.ReadCloser.Read(b)
	if n > 0 && err != nil {
		e.end, err = err, nil
	}
	return n, err
}

func (l *podLog) OverrideMetricsVerb(verb string) string { return verb }

func checkLogOptions(o *corev1.PodLogOptions) error {
	bad := func(format string, args ...any) error { return apierrors.NewBadRequest(fmt.Sprintf(format, args...)) }
	switch {
	case o.SinceSeconds != nil && o.SinceTime != nil:
		return bad("at most one of sinceTime or sinceSeconds may be specified")
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		return bad("sinceSeconds must be greater than 0")
	case o.TailLines != nil && *o.TailLines < 0:
		return bad("tailLines must be greater than or equal to 0")
	case o.LimitBytes != nil && *o.LimitBytes < 1:
		return bad("limitBytes must be greater than 0")
	}
	return nil
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	flag := func(name string, on bool) {
		if on {
			q.Set(name, "true")
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	flag("follow", o.Follow)
	flag("previous", o.Previous)
	flag("timestamps", o.Timestamps)
	number("sinceSeconds", o.SinceSeconds)
	number("tailLines", o.TailLines)
	number("limitBytes", o.LimitBytes)
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.UTC().Format(time.RFC3339Nano))
	}
	if o.Stream != nil && *o.Stream != "" {
		q.Set("stream", *o.Stream)
	}
	return q
}

// logChecker turns the node's refusal into an API error with the node's words.
type logChecker struct{ pod string }

func (c logChecker) Check(resp *http.Response) error {
	if resp.StatusCode >= http.StatusOK && resp.StatusCode <= http.StatusPartialContent {
		return nil
	}
	defer resp.Body.Close()
	b := make([]byte, 2048)
	n, _ := resp.Body.Read(b)
	msg := strings.TrimSpace(string(b[:n]))
	switch {
	case resp.StatusCode == http.StatusNotFound:
		e := apierrors.NewNotFound(corev1.Resource("pods/log"), c.pod)
		e.ErrStatus.Message = msg
		return e
	case resp.StatusCode < http.StatusInternalServerError:
		return apierrors.NewBadRequest(msg)
	}
	return apierrors.NewInternalError(errors.New(msg))
}
