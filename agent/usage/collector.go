package usage

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/peapod-sh/peapod/agent/runtime"
)

var (
	podLabels       = []string{"namespace", "pod"}
	containerLabels = []string{"container", "namespace", "pod"}

	nodeCPU         = prometheus.NewDesc("node_cpu_usage_seconds_total", "Processor time that the node has used, in seconds.", nil, nil)
	nodeMemory      = prometheus.NewDesc("node_memory_working_set_bytes", "The node's working set, in bytes.", nil, nil)
	nodeSwap        = prometheus.NewDesc("node_swap_usage_bytes", "The node's memory that is swapped out, in bytes.", nil, nil)
	podCPU          = prometheus.NewDesc("pod_cpu_usage_seconds_total", "Processor time that the pod has used, in seconds.", podLabels, nil)
	podMemory       = prometheus.NewDesc("pod_memory_working_set_bytes", "The pod's working set, in bytes.", podLabels, nil)
	podSwap         = prometheus.NewDesc("pod_swap_usage_bytes", "The pod's memory that is swapped out, in bytes.", podLabels, nil)
	containerCPU    = prometheus.NewDesc("container_cpu_usage_seconds_total", "Processor time that the container has used, in seconds.", containerLabels, nil)
	containerMemory = prometheus.NewDesc("container_memory_working_set_bytes", "The container's working set, in bytes.", containerLabels, nil)
	containerSwap   = prometheus.NewDesc("container_swap_usage_bytes", "The container's memory that is swapped out, in bytes.", containerLabels, nil)
	containerStart  = prometheus.NewDesc("container_start_time_seconds", "When the container was started, in seconds of Unix time.", containerLabels, nil)
	scrapeError     = prometheus.NewDesc("resource_scrape_error", "1 if the containers' usage could not be read, else 0.", nil, nil)
)

// Collector is a node's /metrics/resource.
func (m *Meter) Collector() prometheus.Collector { return collector{m} }

type collector struct{ m *Meter }

func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodeCPU, nodeMemory, nodeSwap, podCPU, podMemory, podSwap, containerCPU, containerMemory, containerSwap, containerStart, scrapeError} {
		ch <- d
	}
}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	last, _ := c.m.fresh(context.Background())
	if last == nil {
		ch <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, 1)
		return
	}
	ch <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, 0)
	send := func(cpu, memory, swap *prometheus.Desc, u runtime.Usage, labels ...string) {
		at := func(d *prometheus.Desc, kind prometheus.ValueType, v float64) {
			ch <- prometheus.NewMetricWithTimestamp(u.Time.Truncate(time.Millisecond), prometheus.MustNewConstMetric(d, kind, v, labels...))
		}
		at(cpu, prometheus.CounterValue, float64(u.CPUNanos)/1e9)
		at(memory, prometheus.GaugeValue, float64(u.WorkingSetBytes))
		at(swap, prometheus.GaugeValue, float64(u.SwapBytes))
	}
	send(nodeCPU, nodeMemory, nodeSwap, last.node)
	for _, r := range last.sorted() {
		send(podCPU, podMemory, podSwap, r.stats.Usage, r.pod.Namespace, r.pod.Name)
		for _, m := range running(r.pod) {
			u, ok := r.stats.Containers[m.id]
			if !ok {
				continue
			}
			labels := []string{m.name, r.pod.Namespace, r.pod.Name}
			send(containerCPU, containerMemory, containerSwap, u, labels...)
			ch <- prometheus.MustNewConstMetric(containerStart, prometheus.GaugeValue, float64(m.started.UnixNano())/1e9, labels...)
		}
	}
}
