package image

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience asks again when a registry says that it is busy or has a fault of its own, after as long as it asks
// for. Only requests without a body pass through here, so that each can be repeated.
type patience struct {
	inner http.RoundTripper
	host  string // whose plain HTTP must have been asked for; "" if it was
}

// RoundTrip implements http.RoundTripper.
func (p patience) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && r.URL.Host == p.host {
		return nil, fmt.Errorf("%w: plain HTTP to %s was not asked for: if it is meant, configure the mirror %s=http://%s", errPlain, p.host, p.host, p.host)
	}
	for attempt := 0; ; attempt++ {
		resp, err := p.inner.RoundTrip(r)
		wait, again := again(resp, err, attempt, time.Now())
		if !again {
			return resp, err
		}
		if resp != nil {
			resp.Body.Close()
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
			return nil, r.Context().Err()
		}
	}
}

var errPlain = errors.New("refused")

// again says whether a request is to be repeated, and when.
func again(resp *http.Response, err error, attempt int, now time.Time) (time.Duration, bool) {
	if attempt >= requestAttempts-1 {
		return 0, false
	}
	pause := requestPause << attempt
	if err != nil {
		return pause, errors.Is(err, syscall.ECONNRESET) || strings.HasSuffix(err.Error(), "EOF") // a kept connection that had ended
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		asked, ok := retryAfter(resp.Header.Get("Retry-After"), now)
		if ok {
			return asked, asked <= retryAfterMax
		}
		return pause, true
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return pause, true
	}
	return 0, false
}

// retryAfter reads the header's two forms, seconds and a date (RFC 9110, 10.2.3).
func retryAfter(text string, now time.Time) (time.Duration, bool) {
	if n, err := strconv.Atoi(text); err == nil && n >= 0 {
		return time.Duration(n) * time.Second, true
	}
	if t, err := http.ParseTime(text); err == nil {
		return max(0, t.Sub(now)), true
	}
	return 0, false
}

// loopback says whether a registry's address is this machine's, where plain HTTP tells nobody anything.
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
