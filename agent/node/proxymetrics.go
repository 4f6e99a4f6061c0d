package node

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/peapod-sh/peapod/netproxy"
)

// proxyMetrics are the proxy's counters as Prometheus reads them, by port of a service and by endpoint.
type proxyMetrics struct {
	proxy interface{ Ports() []netproxy.PortTrace }
}

var (
	portLabels     = []string{"namespace", "service", "port", "protocol"}
	endpointLabels = append(portLabels[:len(portLabels):len(portLabels)], "endpoint")

	portConnections = prometheus.NewDesc("peapod_service_connections_total", "TCP connections accepted, or UDP sessions opened.", portLabels, nil)
	portActive      = prometheus.NewDesc("peapod_service_connections_active", "Of them, those that have not ended.", portLabels, nil)
	portReceived    = prometheus.NewDesc("peapod_service_received_bytes_total", "Bytes from clients to endpoints.", portLabels, nil)
	portSent        = prometheus.NewDesc("peapod_service_sent_bytes_total", "Bytes from endpoints to clients.", portLabels, nil)
	portRetries     = prometheus.NewDesc("peapod_service_connect_retries_total", "Connects that failed and were tried on another endpoint.", portLabels, nil)
	portErrors      = prometheus.NewDesc("peapod_service_errors_total", "Connections reset, or datagrams dropped, since they could not be passed on.", portLabels, nil)
	portRefused     = prometheus.NewDesc("peapod_service_refused_total", "Of them, those that the proxy had no room for: connections, sessions, descriptors or ports.", portLabels, nil)
	portDisplaced   = prometheus.NewDesc("peapod_service_displaced_total", "UDP sessions that ended early to make room for others.", portLabels, nil)
	portUnkept      = prometheus.NewDesc("peapod_service_sources_lost_total", "Connects from the node's address though the service keeps its clients'.", portLabels, nil)
	portLatency     = prometheus.NewDesc("peapod_service_connect_seconds", "How long connects to endpoints took.", portLabels, nil)

	endpointConnections = prometheus.NewDesc("peapod_endpoint_connections_total", "Connections and sessions since the endpoint appeared.", endpointLabels, nil)
	endpointActive      = prometheus.NewDesc("peapod_endpoint_connections_active", "Of them, those that have not ended, and connects under way.", endpointLabels, nil)
	endpointReceived    = prometheus.NewDesc("peapod_endpoint_received_bytes_total", "Bytes from clients; of open connections all but less than a megabyte each.", endpointLabels, nil)
	endpointSent        = prometheus.NewDesc("peapod_endpoint_sent_bytes_total", "Bytes to clients; of open connections all but less than a megabyte each.", endpointLabels, nil)
	endpointLatency     = prometheus.NewDesc("peapod_endpoint_connect_seconds", "How long connects took that succeeded.", endpointLabels, nil)
	endpointFailures    = prometheus.NewDesc("peapod_endpoint_connect_failures_total", "Connects that failed.", endpointLabels, nil)
)

var _ prometheus.Collector = proxyMetrics{}

func (proxyMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{portConnections, portActive, portReceived, portSent, portRetries, portErrors, portRefused, portDisplaced, portUnkept, portLatency,
		endpointConnections, endpointActive, endpointReceived, endpointSent, endpointLatency, endpointFailures} {
		ch <- d
	}
}

// Collect leaves out ports and endpoints that nobody has used: a cluster has a hundred thousand of them, and each node sees traffic to few.
func (m proxyMetrics) Collect(ch chan<- prometheus.Metric) {
	for _, t := range m.proxy.Ports() {
		if t.Counters == (netproxy.Counters{}) {
			continue
		}
		protocol := "TCP"
		if t.Name.Protocol == netproxy.UDP {
			protocol = "UDP"
		}
		labels := []string{t.Name.Namespace, t.Name.Name, strconv.Itoa(int(t.Name.Port)), protocol}
		count := func(d *prometheus.Desc, n uint64, l []string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), l...)
		}
		gauge := func(d *prometheus.Desc, n int64, l []string) {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), l...)
		}
		count(portConnections, t.Counters.Connections, labels)
		gauge(portActive, t.Counters.Active, labels)
		count(portReceived, t.Counters.BytesIn, labels)
		count(portSent, t.Counters.BytesOut, labels)
		count(portRetries, t.Counters.Retries, labels)
		count(portErrors, t.Counters.Errors, labels)
		count(portRefused, t.Counters.Refused, labels)
		count(portDisplaced, t.Counters.Displaced, labels)
		count(portUnkept, t.Counters.Unkept, labels)
		ch <- histogram(portLatency, &t.Latency, labels)
		for _, b := range t.Backends {
			if b.Connections == 0 && b.Failures == 0 && b.Active == 0 {
				continue
			}
			l := append(labels[:len(labels):len(labels)], b.Address.String())
			count(endpointConnections, b.Connections, l)
			gauge(endpointActive, b.Active, l)
			count(endpointReceived, b.BytesIn, l)
			count(endpointSent, b.BytesOut, l)
			ch <- histogram(endpointLatency, &b.Latency, l)
			count(endpointFailures, b.Failures, l)
		}
	}
}

func histogram(d *prometheus.Desc, l *netproxy.Latency, labels []string) prometheus.Metric {
	buckets, count := map[float64]uint64{}, uint64(0)
	for i, n := range l.Buckets {
		count += n
		if i < len(netproxy.LatencyBounds) {
			buckets[netproxy.LatencyBounds[i].Seconds()] = count
		}
	}
	return prometheus.MustNewConstHistogram(d, count, l.Sum.Seconds(), buckets, labels...)
}
