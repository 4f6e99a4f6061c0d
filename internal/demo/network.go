package demo

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"time"
)

// fetch makes one request and gives back what came.
func fetch(method, url, body string, headers []string, timeout time.Duration, insecure, follow bool) (*http.Response, error) {
	if !strings.Contains(url, "://") {
		url = "http://" + url
	}
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ":")
		if strings.EqualFold(k, "Host") {
			r.Host = strings.TrimSpace(v)
			continue
		}
		r.Header.Add(k, strings.TrimSpace(v))
	}
	client := &http.Client{Timeout: timeout, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: insecure}, // only if the user says so
		Proxy:           http.ProxyFromEnvironment,
	}}
	if !follow {
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	}
	return client.Do(r)
}

func wget(c *call) int {
	o, err := parse(c.args, "qO:T:St:", map[string]string{"quiet": "q", "output-document": "O", "timeout": "T", "no-check-certificate": "S", "tries": "t"})
	if err != nil || len(o.rest) != 1 {
		return c.misuse("want [-q] [-O FILE] [-T SECONDS] URL %v", orNone(err))
	}
	secs, err := o.number("T", 900)
	if err != nil {
		return c.misuse("%v", err)
	}
	r, err := fetch("GET", o.rest[0], "", nil, time.Duration(secs)*time.Second, o.has("S"), true)
	if err != nil {
		return c.fail(err)
	}
	defer r.Body.Close()
	if r.StatusCode >= 400 {
		return c.fail(fmt.Errorf("server answered %s", r.Status))
	}
	to := cmp.Or(o.value["O"], strings.TrimSuffix(path.Base(r.Request.URL.Path), "/"))
	if to == "" || to == "." {
		to = "index.html"
	}
	if err := c.save(to, r.Body); err != nil {
		return c.fail(err)
	}
	if !o.has("q") && to != "-" {
		fmt.Fprintf(os.Stderr, "'%s' saved\n", to)
	}
	return 0
}

// save writes to a file, or to standard output for "-".
func (c *call) save(name string, r io.Reader) error {
	if name == "-" || name == "" {
		_, err := io.Copy(os.Stdout, r)
		return err
	}
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

func curl(c *call) int {
	args, headers := takeHeaders(c.args)
	o, err := parse(args, "sSfLkivIo:X:d:m:w:", map[string]string{
		"silent": "s", "show-error": "S", "fail": "f", "location": "L", "insecure": "k", "include": "i", "head": "I",
		"output": "o", "request": "X", "data": "d", "max-time": "m", "write-out": "w", "connect-timeout": "m"})
	if err != nil || len(o.rest) != 1 {
		return c.misuse("want options and one URL %v", orNone(err))
	}
	secs, err := strconv.ParseFloat(cmp.Or(o.value["m"], "0"), 64)
	if err != nil {
		return c.misuse("%q is no number of seconds", o.value["m"])
	}
	method := cmp.Or(o.value["X"], "GET")
	switch {
	case o.has("I"):
		method = "HEAD"
	case o.has("d") && !o.has("X"):
		method = "POST"
		headers = append([]string{"Content-Type: application/x-www-form-urlencoded"}, headers...)
	}
	r, err := fetch(method, o.rest[0], o.value["d"], headers, time.Duration(secs*float64(time.Second)), o.has("k"), o.has("L"))
	if err != nil {
		if !o.has("s") || o.has("S") {
			c.fail(err)
		}
		return curlCode(err)
	}
	defer r.Body.Close()
	if o.has("f") && r.StatusCode >= 400 {
		c.fail(fmt.Errorf("the server answered %s", r.Status))
		return 22
	}
	if o.has("i") || o.has("I") {
		fmt.Fprintf(os.Stdout, "%s %s\r\n", r.Proto, r.Status)
		_ = r.Header.Write(os.Stdout)
		fmt.Fprint(os.Stdout, "\r\n")
	}
	if err := c.save(o.value["o"], r.Body); err != nil {
		c.fail(err)
		return 23
	}
	fmt.Fprint(os.Stdout, strings.NewReplacer("%{http_code}", fmt.Sprint(r.StatusCode), `\n`, "\n").Replace(o.value["w"]))
	return 0
}

// takeHeaders takes the -H options out: they may come many times.
func takeHeaders(args []string) (rest, headers []string) {
	for i := 0; i < len(args); i++ {
		switch {
		case (args[i] == "-H" || args[i] == "--header") && i+1 < len(args):
			headers = append(headers, args[i+1])
			i++
		case strings.HasPrefix(args[i], "-H"):
			headers = append(headers, args[i][2:])
		default:
			rest = append(rest, args[i])
		}
	}
	return rest, headers
}

// curlCode is curl's own exit code for a failure.
func curlCode(err error) int {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return 6
	case errors.As(err, &timeout) && timeout.Timeout():
		return 28
	}
	return 7
}

func nslookup(c *call) int {
	o, err := parse(c.args, "", nil)
	if err != nil || len(o.rest) == 0 || len(o.rest) > 2 {
		return c.misuse("want NAME [SERVER] %v", orNone(err))
	}
	r := &net.Resolver{PreferGo: true}
	if len(o.rest) == 2 {
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(o.rest[1], "53"))
		}
		fmt.Fprintf(c.out, "Server:  %s\n\n", o.rest[1])
	}
	ctx := context.Background()
	if net.ParseIP(o.rest[0]) != nil {
		names, err := r.LookupAddr(ctx, o.rest[0])
		if err != nil {
			return c.fail(err)
		}
		for _, n := range names {
			fmt.Fprintf(c.out, "%s\tname = %s\n", o.rest[0], n)
		}
		return 0
	}
	addrs, err := r.LookupHost(ctx, o.rest[0])
	if err != nil {
		return c.fail(err)
	}
	for _, a := range addrs {
		fmt.Fprintf(c.out, "Name:    %s\nAddress: %s\n", o.rest[0], a)
	}
	return 0
}

func nc(c *call) int {
	o, err := parse(c.args, "lukzvw:p:", nil)
	if err != nil {
		return c.misuse("%v", err)
	}
	secs, err := o.number("w", 0)
	if err != nil {
		return c.misuse("%v", err)
	}
	network := "tcp"
	if o.has("u") {
		network = "udp"
	}
	if o.has("l") {
		port := o.value["p"]
		if port == "" && len(o.rest) > 0 {
			port = o.rest[len(o.rest)-1]
		}
		if network == "udp" {
			return c.misuse("-l with -u is not known")
		}
		return c.listen(port, o.has("k"))
	}
	if len(o.rest) != 2 {
		return c.misuse("want HOST PORT, or -l PORT")
	}
	conn, err := net.DialTimeout(network, net.JoinHostPort(o.rest[0], o.rest[1]), time.Duration(secs)*time.Second)
	if err != nil {
		return c.fail(err)
	}
	defer conn.Close()
	if o.has("z") {
		return 0
	}
	if network == "udp" && secs > 0 { // nothing tells of the end but silence
		_ = conn.SetReadDeadline(time.Now().Add(time.Duration(secs) * time.Second))
	}
	return c.relay(conn)
}

func (c *call) listen(port string, again bool) int {
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return c.fail(err)
	}
	defer l.Close()
	for {
		conn, err := l.Accept()
		if err != nil {
			return c.fail(err)
		}
		code := c.relay(conn)
		conn.Close()
		if !again {
			return code
		}
	}
}

// relay joins the connection to the standard streams until the other side closes.
func (c *call) relay(conn net.Conn) int {
	go func() { // ends with the process: a read of standard input cannot be called off
		_, _ = io.Copy(conn, c.in)
		if w, ok := conn.(interface{ CloseWrite() error }); ok {
			_ = w.CloseWrite()
		}
	}()
	if _, err := io.Copy(os.Stdout, conn); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return c.fail(err)
	}
	return 0
}
