package kube

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/peapod-sh/peapod/api"
)

// tables makes the tables that kubectl shows from a kind's columns.
type tables struct {
	kind *api.Kind
	now  func() time.Time
}

var _ rest.TableConvertor = tables{}

func newTables(k *api.Kind) rest.TableConvertor {
	if k.Row == nil {
		return rest.NewDefaultTableConvertor(k.GroupResource())
	}
	return tables{k, time.Now}
}

// ConvertToTable makes a row an object; the caller cuts Row.Object down to what was asked for.
func (t tables) ConvertToTable(ctx context.Context, object, options runtime.Object) (*metav1.Table, error) {
	if !meta.IsListType(object) {
		if _, err := meta.Accessor(object); err != nil || !t.ours(object) {
			return rest.NewDefaultTableConvertor(t.kind.GroupResource()).ConvertToTable(ctx, object, options)
		}
	}
	table := &metav1.Table{}
	now := t.now()
	row := func(o runtime.Object) error {
		table.Rows = append(table.Rows, metav1.TableRow{Cells: t.kind.Row(o, now), Object: runtime.RawExtension{Object: o}})
		return nil
	}
	if meta.IsListType(object) {
		if err := meta.EachListItem(object, row); err != nil {
			return nil, err
		}
	} else if err := row(object); err != nil {
		return nil, err
	}
	if m, err := meta.ListAccessor(object); err == nil {
		table.ResourceVersion, table.Continue, table.RemainingItemCount = m.GetResourceVersion(), m.GetContinue(), m.GetRemainingItemCount()
	} else if m, err := meta.CommonAccessor(object); err == nil {
		table.ResourceVersion = m.GetResourceVersion()
	}
	if opt, ok := options.(*metav1.TableOptions); !ok || !opt.NoHeaders {
		table.ColumnDefinitions = t.kind.Columns
	}
	return table, nil
}

// ours says whether Row can make a row of the object; subresources answer with other kinds.
func (t tables) ours(o runtime.Object) bool {
	gvks, _, err := api.Scheme.ObjectKinds(o)
	return err == nil && len(gvks) > 0 && gvks[0].Kind == t.kind.Name
}
