package api

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// Cells that stand for a value that is absent or not known.
const (
	cellNone    = "<none>"
	cellUnknown = "<unknown>"
	cellUnset   = "<unset>"
)

// nameColumn begins every table; its format tells kubectl which cell names the object.
var nameColumn = metav1.TableColumnDefinition{
	Name: "Name", Type: "string", Format: "name",
	Description: "The object's name, unique in its namespace among objects of its kind.",
}

// ageColumn shows how long ago the object was made.
var ageColumn = metav1.TableColumnDefinition{
	Name: "Age", Type: "string", Description: "How long ago the object was created.",
}

// createdColumn shows when the object was made; kinds without a table of their own have it.
var createdColumn = metav1.TableColumnDefinition{
	Name: "Created At", Type: "date", Description: "When the object was created.",
}

// created is the cell of createdColumn.
func created(t metav1.Time) string { return t.UTC().Format(time.RFC3339) }

func textColumn(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "string", Description: description}
}

func numberColumn(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "integer", Description: description}
}

func boolColumn(name, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: "boolean", Description: description}
}

// wide hides a column until the user asks for -o wide.
func wide(c metav1.TableColumnDefinition) metav1.TableColumnDefinition {
	c.Priority = 1
	return c
}

// templateColumns are the wide columns of every kind that stamps pods.
func templateColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		wide(textColumn("Containers", "Names of the containers in the pod template.")),
		wide(textColumn("Images", "Images of the containers in the pod template.")),
		wide(textColumn("Selector", "Which pods belong to the object.")),
	}
}

// templateCells are the cells of templateColumns.
func templateCells(spec *corev1.PodSpec, selector *metav1.LabelSelector) []any {
	names, images := containerCells(spec.Containers)
	return []any{names, images, metav1.FormatLabelSelector(selector)}
}

// containerCells list the names and the images of containers.
func containerCells(list []corev1.Container) (names, images string) {
	var allNames, allImages []string
	for i := range list {
		allNames = append(allNames, list[i].Name)
		allImages = append(allImages, list[i].Image)
	}
	return strings.Join(allNames, ","), strings.Join(allImages, ",")
}

// age is the time since t in kubectl's short form ("5d", "3m20s").
func age(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return cellUnknown
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

// formatMap shows labels as "a=b,c=d", and "<none>" if there are none.
func formatMap(m map[string]string) string {
	return metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: m})
}
