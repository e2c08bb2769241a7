package vcd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The API versions whose documents the client knows, both included.
var oldest, newest = apiVersion{37, 0}, apiVersion{39, 1}

type apiVersion struct{ major, minor int }

func (v apiVersion) String() string { return fmt.Sprintf("%d.%d", v.major, v.minor) }

func (v apiVersion) less(w apiVersion) bool {
	return v.major < w.major || v.major == w.major && v.minor < w.minor
}

// parseVersion reads "39.1"; pre-releases and other forms are not ours.
func parseVersion(s string) (apiVersion, bool) {
	major, minor, ok := strings.Cut(strings.TrimSpace(s), ".")
	a, err1 := strconv.Atoi(major)
	b, err2 := strconv.Atoi(minor)
	return apiVersion{a, b}, ok && err1 == nil && err2 == nil
}

// Now is the time by vCD's clock, to the second: the Date of an answer (RFC
// 9110, 6.6.1).
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	answer, err := c.Do(ctx, Request{Method: http.MethodGet, Href: "/api/versions", Accept: "*/*"})
	if err != nil {
		return time.Time{}, err
	}
	now, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		return time.Time{}, fmt.Errorf("date of an answer: %w", err)
	}
	return now, nil
}

// negotiate asks the server for its versions and picks wanted, or the highest
// that both speak.
func (c *Client) negotiate(ctx context.Context, wanted string) (string, error) {
	r := Request{Method: http.MethodGet, Href: "/api/versions", Accept: "*/*"}
	answer, err := c.retry(ctx, r, func() (*Response, error) { return first(c.send(ctx, r, "")) })
	if err != nil {
		return "", err
	}
	if answer.Status >= 300 {
		return "", c.apiError(r, answer)
	}
	var doc struct {
		Info []struct{ Version string } `xml:"VersionInfo"`
	}
	if err := parse(answer.Body, "SupportedVersions", &doc); err != nil {
		return "", err
	}
	var best apiVersion
	var served []string
	for _, info := range doc.Info {
		v, ok := parseVersion(info.Version)
		if !ok {
			continue
		}
		served = append(served, v.String())
		if wanted != "" && v.String() == wanted {
			return wanted, nil
		}
		if !v.less(oldest) && !newest.less(v) && best.less(v) {
			best = v
		}
	}
	switch {
	case len(served) == 0:
		return "", errors.New("the server names no version")
	case wanted != "":
		return "", fmt.Errorf("the server does not speak %s, only %s", wanted, strings.Join(served, ", "))
	case best == apiVersion{}:
		return "", fmt.Errorf("the server speaks %s; %s to %s are known here",
			strings.Join(served, ", "), oldest, newest)
	}
	return best.String(), nil
}
