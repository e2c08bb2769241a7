package vcd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A Request is one call. Of Href only path and query count.
type Request struct {
	Method      string
	Href        string // absolute, or a path such as /api/org
	ContentType string
	Accept      string // "" is XML below /api and JSON below /cloudapi; the version is added
	Body        []byte

	login bool // carries the password instead of the token
}

// A Response is the answer to a request that succeeded.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request. An expired session is renewed once. A busy entity, 429,
// and 503 with Retry-After are waited for; broken connections and gateways'
// errors only where repeating does no harm (GET, HEAD, PUT, DELETE). What
// remains wrong is an *Error, or the transport's error.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	renewed := false
	answer, err := c.retry(ctx, r, func() (*Response, error) {
		token := c.currentToken()
		answer, err := c.send(ctx, r, token)
		if err != nil || answer.Status != http.StatusUnauthorized || renewed {
			return answer, err
		}
		renewed = true
		if err := c.login(ctx, token); err != nil {
			return nil, &loginError{fmt.Errorf("renew the session: %w", err)}
		}
		return c.send(ctx, r, c.currentToken())
	})
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.Method, r.path(), err)
	}
	if answer.Status >= 300 {
		return nil, c.apiError(r, answer)
	}
	return answer, nil
}

// Get fetches one document.
func (c *Client) Get(ctx context.Context, href string) (*Document, error) {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Href: href})
	if err != nil {
		return nil, err
	}
	return &Document{Href: href, Type: bareType(answer.Header.Get("Content-Type")), Raw: answer.Body}, nil
}

func (r Request) path() string {
	if u, err := url.Parse(r.Href); err == nil && u.Path != "" {
		return u.Path
	}
	return r.Href
}

func (r Request) accept(version string) string {
	accept := r.Accept
	switch {
	case accept != "":
	case strings.HasPrefix(r.path(), "/cloudapi/"):
		accept = "application/json"
	default:
		accept = "application/*+xml"
	}
	if version != "" && !strings.Contains(accept, "version=") {
		accept += ";version=" + version
	}
	return accept
}

// send makes one attempt. It is the only place where the password and the
// token leave the client.
func (c *Client) send(ctx context.Context, r Request, token string) (*Response, error) {
	u, err := url.Parse(r.Href)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return nil, fmt.Errorf("href %q: no path", r.Href)
	}
	target := url.URL{
		Scheme: c.site.Scheme, Host: c.site.Host, Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery,
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target.String(), bytes.NewReader(r.Body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", r.accept(c.version))
	req.Header.Set("User-Agent", c.agent)
	if r.ContentType != "" {
		req.Header.Set("Content-Type", r.ContentType)
	}
	if r.login {
		req.SetBasicAuth(c.user+"@"+c.org, c.password)
	} else if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	began := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		// What is wanted of a url.Error is the cause; the caller names the request.
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, certificateError(c.site.Host, err)
	}
	defer resp.Body.Close()
	body, err := readBody(resp.Body)
	if err != nil {
		return nil, err
	}
	c.log.Debug("vcd request", "method", r.Method, "path", u.Path, "status", resp.StatusCode, "took", time.Since(began))
	return &Response{Status: resp.StatusCode, Header: resp.Header, Body: body}, nil
}

func readBody(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, MaxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(body) > MaxDocument {
		return nil, ErrTooLarge
	}
	return body, nil
}
