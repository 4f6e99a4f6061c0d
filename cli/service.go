package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/kubernetes"

	"github.com/peapod-sh/peapod/agent/services"
	"github.com/peapod-sh/peapod/netproxy"
)

func serviceCommand() *cobra.Command {
	config := genericclioptions.NewConfigFlags(true)
	c := &cobra.Command{Use: "service", Short: "See where services send their clients"}
	config.AddFlags(c.PersistentFlags())
	var node string
	trace := &cobra.Command{
		Use: "trace NAME", Short: "Show what a client of a service would hit, and why other pods are left out", Args: cobra.ExactArgs(1), SilenceUsage: true,
		Long: `Show which addresses of a service are open on a node, which endpoints take new connections there, and why the service's other pods
are left out: not ready and by what, about to end, without an address, or kept from the node by a traffic policy.

It asks the node's own proxy, so that it shows what is in force there and not what should be. The last table says of every node how
far its proxy is behind.`,
		Example: `  peapod service trace web
  peapod service trace web -n shop --node client2   # as a client on that node sees it`,
		RunE: func(c *cobra.Command, args []string) error {
			rest, err := config.ToRESTConfig()
			if err != nil {
				return fmt.Errorf("finding the cluster (see --kubeconfig and KUBECONFIG): %w", err)
			}
			namespace, _, err := config.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return fmt.Errorf("reading the kubeconfig: %w", err)
			}
			client, err := kubernetes.NewForConfig(rest)
			if err != nil {
				return fmt.Errorf("making a client: %w", err)
			}
			t, err := readTrace(c.Context(), client, namespace, args[0], node)
			if err != nil {
				return err
			}
			t.print(c.OutOrStdout())
			return nil
		},
	}
	trace.Flags().StringVar(&node, "node", "", "the node on which the client is; without it, the first that answers")
	c.AddCommand(trace)
	return c
}

// serviceTrace is all that is known of a service: by the API, and by the nodes' proxies.
type serviceTrace struct {
	service *corev1.Service
	pods    []corev1.Pod
	slices  []discoveryv1.EndpointSlice
	nodes   []nodeTrace
	at      *services.Trace // of the node in question
}

type nodeTrace struct {
	name  string
	trace *services.Trace // nil if the node did not answer
	err   error
}

func readTrace(ctx context.Context, c kubernetes.Interface, namespace, name, node string) (*serviceTrace, error) {
	t := &serviceTrace{}
	var err error
	if t.service, err = c.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{}); err != nil {
		return nil, err
	}
	if len(t.service.Spec.Selector) > 0 {
		pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(t.service.Spec.Selector).String()})
		if err != nil {
			return nil, err
		}
		t.pods = pods.Items
	}
	parts, err := c.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name})
	if err != nil {
		return nil, err
	}
	t.slices = parts.Items
	return t, t.askNodes(ctx, c, node)
}

// askNodes asks every node what its proxy does; t.at is that of the node in question.
func (t *serviceTrace) askNodes(ctx context.Context, c kubernetes.Interface, wanted string) error {
	list, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, n := range list.Items {
		x := nodeTrace{name: n.Name}
		x.trace, x.err = askNode(ctx, c, n.Name, t.service)
		t.nodes = append(t.nodes, x)
		if x.trace != nil && (wanted == n.Name || wanted == "" && t.at == nil) {
			t.at = x.trace
		}
	}
	i := slices.IndexFunc(t.nodes, func(n nodeTrace) bool { return n.name == wanted })
	switch {
	case t.at != nil:
		return nil
	case wanted == "":
		return errors.New("no node answers: see 'peapod get nodes'")
	case i < 0:
		return fmt.Errorf("there is no node %q: see 'peapod get nodes'", wanted)
	}
	return fmt.Errorf("node %s does not answer: %w", wanted, t.nodes[i].err)
}

func askNode(ctx context.Context, c kubernetes.Interface, node string, s *corev1.Service) (*services.Trace, error) {
	b, err := c.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy").Suffix("services", s.Namespace, s.Name).DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	t := &services.Trace{}
	return t, json.Unmarshal(b, t)
}

func (t *serviceTrace) print(w io.Writer) {
	s := t.service
	fmt.Fprintf(w, "Service %s/%s, %s, as seen from node %s\n", s.Namespace, s.Name, s.Spec.Type, t.at.Node)
	for i := range s.Spec.Ports {
		t.printPort(w, &s.Spec.Ports[i])
	}
	fmt.Fprintln(w)
	rows := [][]string{{"NODE", "REVISION", "BEHIND"}}
	for _, n := range t.nodes {
		rows = append(rows, t.nodeRow(n))
	}
	table(w, rows...)
}

func (t *serviceTrace) printPort(w io.Writer, p *corev1.ServicePort) {
	trace := t.portOf(p)
	open := make([]string, 0, len(trace.Listening))
	for _, a := range trace.Listening {
		open = append(open, a.String())
	}
	switch {
	case t.headless():
		open = append(open, "nothing: clients find the endpoints by name")
	case len(open) == 0:
		open = append(open, "nothing: clients are refused")
	}
	fmt.Fprintf(w, "\nPort %d/%s %s\n", p.Port, p.Protocol, p.Name)
	fmt.Fprintf(w, "  open         %s\n", strings.Join(open, ", "))
	fmt.Fprintf(w, "  connections  %d, %d now; %d connects tried again, %d clients turned away\n",
		trace.Counters.Connections, trace.Counters.Active, trace.Counters.Retries, trace.Counters.Errors)
	if n := trace.Counters.Unkept; n > 0 {
		fmt.Fprintf(w, "  sources      %d connects were made from the node's address: what the endpoint answers such a client would not come back by this node\n", n)
	}
	fmt.Fprintln(w)
	rows := [][]string{{"ENDPOINT", "POD", "NODE", "TAKES", "NOW", "WHY"}}
	rows = append(rows, t.endpointRows(p, trace)...)
	table(w, rows...)
}

func (t *serviceTrace) headless() bool { return t.service.Spec.ClusterIP == corev1.ClusterIPNone }

// portOf is what the node's proxy does with a port; nothing if it does not know it.
func (t *serviceTrace) portOf(p *corev1.ServicePort) *netproxy.PortTrace {
	protocol := netproxy.TCP
	if p.Protocol == corev1.ProtocolUDP {
		protocol = netproxy.UDP
	}
	for i := range t.at.Ports {
		if n := &t.at.Ports[i].Name; int32(n.Port) == p.Port && n.Protocol == protocol {
			return &t.at.Ports[i]
		}
	}
	return &netproxy.PortTrace{}
}

// nodeRow says how far a node's proxy is behind the farthest.
func (t *serviceTrace) nodeRow(n nodeTrace) []string {
	if n.trace == nil {
		return []string{n.name, "-", "does not answer: " + n.err.Error()}
	}
	newest := uint64(0)
	for _, x := range t.nodes {
		if x.trace != nil {
			newest = max(newest, x.trace.Known)
		}
	}
	behind := "-"
	if n.trace.InForce < newest {
		behind = fmt.Sprintf("%d revisions", newest-n.trace.InForce)
	}
	return []string{n.name, strconv.FormatUint(n.trace.InForce, 10), behind}
}
