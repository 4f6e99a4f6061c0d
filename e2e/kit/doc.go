// Package kit is what the end-to-end tests share: a lab of real nodes, the real kubectl, a registry, and waiting.
//
// A package of tests has
//
//	func TestMain(m *testing.M) { kit.Main(m, kit.Options{Name: "e2ea"}) }
//
// Main starts one lab for all of the package's tests and runs the tests in a child process, so that the lab
// is taken down even when a test panics, calls os.Exit, or runs into the time limit. Tests get it by
// kit.Shared(t). It knows Peapod as its users do: by the binary's commands and the API, and by nothing else.
package kit
