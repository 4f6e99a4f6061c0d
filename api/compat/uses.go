package compat

import (
	"errors"
	"fmt"
	"go/ast"
	"go/types"
	"slices"
	"strings"

	"golang.org/x/tools/go/packages"
)

const (
	module    = "github.com/peapod-sh/peapod"
	libraries = "k8s.io/api/"
)

// bystanders are the folders whose code reads fields without acting on them: it checks them, writes them, asks who may have them, or shows
// them.
var bystanders = []string{"api", "jobspecs", "cli", "server/nodeauth", "internal"}

// Uses are the fields that code of this module reads or writes to act on them, as "core/v1.PodSpec.Containers". Dir is the module's folder;
// tags are those of the build, with commas.
func Uses(dir, tags string) (map[string]bool, error) {
	list, err := packages.Load(&packages.Config{
		Mode: packages.NeedName | packages.NeedTypes | packages.NeedTypesInfo | packages.NeedSyntax | packages.NeedImports,
		Dir:  dir, BuildFlags: []string{"-tags=" + tags},
	}, "./...")
	if err != nil {
		return nil, fmt.Errorf("reading the module's source: %w", err)
	}
	uses := map[string]bool{}
	for _, p := range list {
		if len(p.Errors) > 0 {
			return nil, fmt.Errorf("reading %s: %w", p.PkgPath, p.Errors[0])
		}
		if acts(p.PkgPath) {
			for _, f := range p.Syntax {
				collect(f, p.TypesInfo, uses)
			}
		}
	}
	if len(uses) == 0 {
		return nil, errors.New("the module's source reads no field of any kind: it was not found")
	}
	return uses, nil
}

// actors are folders within those that act nevertheless.
var actors = []string{"api/quota"}

func acts(path string) bool {
	folder := strings.TrimPrefix(strings.TrimPrefix(path, module), "/")
	if slices.Contains(actors, folder) {
		return true
	}
	for _, b := range bystanders {
		if folder == b || strings.HasPrefix(folder, b+"/") {
			return false
		}
	}
	return true
}

func collect(f *ast.File, info *types.Info, uses map[string]bool) {
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x := info.Selections[n]; x != nil && x.Kind() == types.FieldVal {
				eachField(x, func(name string) { uses[name] = true })
			}
		case *ast.CompositeLit:
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok {
					if name := fieldName(info.TypeOf(n), kv.Key); name != "" {
						uses[name] = true
					}
				}
			}
		}
		return true
	})
}

// fieldName names the field that a literal of type t gives a value.
func fieldName(t types.Type, key ast.Expr) string {
	id, ok := key.(*ast.Ident)
	if p, pointer := t.Underlying().(*types.Pointer); pointer {
		t = p.Elem()
	}
	if _, isStruct := t.Underlying().(*types.Struct); !ok || !isStruct {
		return ""
	}
	return nameIn(t, id.Name)
}

// nameIn is the name of a type's field, if the type is one of the kinds' libraries; "" else.
func nameIn(t types.Type, field string) string {
	n, ok := types.Unalias(t).(*types.Named)
	if !ok || n.Obj().Pkg() == nil {
		return ""
	}
	path, ours := strings.CutPrefix(n.Obj().Pkg().Path(), libraries)
	if !ours {
		return ""
	}
	return path + "." + n.Obj().Name() + "." + field
}

// eachField names the fields that a selection goes through: more than one where it leads through embedded ones.
func eachField(x *types.Selection, visit func(name string)) {
	t := x.Recv()
	for _, i := range x.Index() {
		if p, ok := t.Underlying().(*types.Pointer); ok {
			t = p.Elem()
		}
		s, ok := t.Underlying().(*types.Struct)
		if !ok {
			return
		}
		if name := nameIn(t, s.Field(i).Name()); name != "" {
			visit(name)
		}
		t = s.Field(i).Type()
	}
}
