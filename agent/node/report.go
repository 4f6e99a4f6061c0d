package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// reportPause is the wait before a change of the Node object is sent again that did not arrive.
const reportPause = time.Second

// report has the servers take over what the object says. Conditions that it does not name stay as they are.
func (n *node) report(ctx context.Context, object *corev1.Node) error {
	encoded, err := object.Marshal()
	if err != nil {
		return fmt.Errorf("encoding the Node object: %w", err)
	}
	for {
		_, err := n.link.Register(ctx, encoded)
		if err == nil {
			return nil
		}
		n.log.Debug("cannot report of the node yet; will try again", "error", err)
		select {
		case <-time.After(reportPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// reportPressure has the Node object follow the node's pressure. Whether it is Ready others know.
func (n *node) reportPressure(ctx context.Context) error {
	for {
		select {
		case <-n.agent.PressureChanged():
		case <-ctx.Done():
			return ctx.Err()
		}
		object := n.announced()
		object.Status.Conditions = slices.DeleteFunc(object.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
		if err := n.report(ctx, object); err != nil {
			return err
		}
	}
}
