package registry

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Applets that tests use; busybox does what the name says by which it is called.
var applets = strings.Fields(`sh cat ls ps env id stat touch mkdir rm chmod date kill head tail grep sleep true false
	hostname wget nslookup nc httpd echo printf test seq tar cp mv sed awk dd wc find sort trap cut tr sha256sum yes mount umount ip`)

// tree is a file system: paths without the first slash, and what is there.
type tree map[string]entry

type entry struct {
	data []byte
	mode int64
	link string // a symbolic link, if not empty
}

// Images are all images by the name that follows the registry's.
func Images() (map[string]v1.Image, error) {
	box, err := busybox()
	if err != nil {
		return nil, err
	}
	nginx, err := programs(box, "/usr/sbin/nginx")
	if err != nil {
		return nil, err
	}
	redis, err := programs(box, "/usr/bin/redis-server", "/usr/bin/redis-cli")
	if err != nil {
		return nil, err
	}
	recipes := []struct {
		ref string
		fs  tree
		cmd []string
	}{
		{"library/busybox:latest", box, []string{"sh"}},
		{"library/nginx:1.12", withNginx(nginx, "1.12"), []string{"/usr/sbin/nginx", "-g", "daemon off;"}},
		{"library/nginx:1.13", withNginx(nginx, "1.13"), []string{"/usr/sbin/nginx", "-g", "daemon off;"}},
		{"library/redis:5.0.4", redis, []string{"redis-server", "--protected-mode", "no"}},
		{"library/system:1.0-SNAPSHOT", withCGI(box), httpd(9080)},
		{"library/inventory:1.0-SNAPSHOT", withCGI(box), httpd(9080)},
		{"jocatalin/kubernetes-bootcamp:v1", withPage(box, "Hello Kubernetes bootcamp! | v=1\n"), httpd(8080)},
		{"jocatalin/kubernetes-bootcamp:v2", withPage(box, "Hello Kubernetes bootcamp! | v=2\n"), httpd(8080)},
		{"anjia0532/google-samples.node-hello:1.0", withPage(box, "Hello Kubernetes!\n"), httpd(8080)},
		{"echoserver:1.4", withCGI(box), httpd(8080)},
	}
	out := map[string]v1.Image{}
	for _, r := range recipes {
		if out[r.ref], err = r.fs.image(r.cmd); err != nil {
			return nil, fmt.Errorf("%s: %w", r.ref, err)
		}
	}
	return out, nil
}

// Busybox is an image of the smallest system with a shell, for what takes images from a file.
func Busybox(command ...string) (v1.Image, error) {
	box, err := busybox()
	if err != nil {
		return nil, err
	}
	return box.image(command)
}

func (t tree) clone() tree {
	out := tree{}
	for k, v := range t {
		out[k] = v
	}
	return out
}

// busybox is the smallest system with a shell.
func busybox() (tree, error) {
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return nil, fmt.Errorf("%w: install busybox-static", err)
	}
	t := tree{
		"bin/busybox": {data: data, mode: 0o755},
		"etc/passwd":  {data: []byte("root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n"), mode: 0o644},
		"etc/group":   {data: []byte("root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n"), mode: 0o644},
	}
	for _, a := range applets {
		t["bin/"+a] = entry{link: "/bin/busybox"}
	}
	return t, nil
}

// programs adds Debian's programs with the libraries that ldd names.
func programs(base tree, files ...string) (tree, error) {
	t := base.clone()
	for _, file := range files {
		out, err := exec.Command("ldd", file).Output()
		if err != nil {
			return nil, fmt.Errorf("ldd %s: %w: install the package that has it (e2e/install-deps)", file, err)
		}
		if err := t.copyIn(file); err != nil {
			return nil, err
		}
		for _, field := range strings.Fields(string(out)) {
			if strings.HasPrefix(field, "/") {
				if err := t.copyIn(field); err != nil {
					return nil, err
				}
			}
		}
	}
	return t, nil
}

func (t tree) copyIn(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	t[strings.TrimPrefix(filepath.Clean(file), "/")] = entry{data: data, mode: 0o755}
	return nil
}

func withNginx(base tree, version string) tree {
	t := base.clone()
	t["etc/nginx/nginx.conf"] = entry{mode: 0o644, data: []byte(`user www-data;
worker_processes 1;
pid /run/nginx.pid;
error_log /dev/stderr;
events { worker_connections 64; }
http { access_log /dev/stdout; server { listen 80; root /usr/share/nginx/html; add_header X-Image nginx:` + version + `; } }
`)}
	t["usr/share/nginx/html/index.html"] = entry{mode: 0o644, data: []byte("<html><title>Welcome to nginx!</title><body>" + version + "</body></html>\n")}
	for _, dir := range []string{"run", "var/log/nginx", "var/lib/nginx/body", "var/lib/nginx/proxy"} {
		t[dir+"/.keep"] = entry{mode: 0o644}
	}
	return t
}

func withPage(base tree, text string) tree {
	t := base.clone()
	t["www/index.html"] = entry{data: []byte(text), mode: 0o644}
	return t
}

// withCGI serves the environment: the web server hands its own to the script below /cgi-bin/.
func withCGI(base tree) tree {
	t := withPage(base, "ok\n")
	t["www/cgi-bin/env"] = entry{mode: 0o755, data: []byte("#!/bin/sh\nprintf 'Content-Type: text/plain\\r\\n\\r\\n'\ncat /env\n")}
	return t
}

// httpd notes the environment in /env and serves /www.
func httpd(port int) []string {
	return []string{"/bin/sh", "-c", fmt.Sprintf("env >/env; echo listening; trap exit TERM; /bin/httpd -f -p %d -h /www & wait", port)}
}

// image makes one layer of the tree.
func (t tree) image(cmd []string) (v1.Image, error) {
	layer, err := t.tar()
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", architecture
	cfg.Config.Cmd = cmd
	cfg.Config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	return mutate.ConfigFile(img, cfg)
}

func (t tree) tar() ([]byte, error) {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	made := map[string]bool{}
	var mkdir func(dir string) error
	mkdir = func(dir string) error {
		if dir == "." || made[dir] {
			return nil
		}
		made[dir] = true
		if err := mkdir(path.Dir(dir)); err != nil {
			return err
		}
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755})
	}
	if err := mkdir("tmp"); err != nil {
		return nil, err
	}
	for name, e := range t {
		if err := mkdir(path.Dir(name)); err != nil {
			return nil, err
		}
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: e.mode, Size: int64(len(e.data))}
		if e.link != "" {
			h = &tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: e.link, Mode: 0o777}
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}
