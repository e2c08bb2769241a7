package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// ErrNotRunning is the error of a Client whose cloud is not there.
var ErrNotRunning = errors.New("no vcdsim serves this directory")

// A Client acts on the cloud that runs in a directory, in this process or in
// another one, through its control socket.
type Client struct {
	dir  string
	http *http.Client
}

// NewClient makes a client. It connects with the first call.
func NewClient(dir string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		name, release, err := socketPath(dir)
		if err != nil {
			return nil, ErrNotRunning
		}
		defer release()
		connection, err := (&net.Dialer{}).DialContext(ctx, "unix", name)
		if err != nil && ctx.Err() == nil {
			return nil, ErrNotRunning
		}
		return connection, err
	}
	return &Client{dir: dir, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// VMs lists all VMs.
func (c *Client) VMs(ctx context.Context) ([]RunningVM, error) {
	var vms []RunningVM
	return vms, c.decode(ctx, http.MethodGet, "/vms", &vms)
}

// Scrub is Cloud.Scrub.
func (c *Client) Scrub(ctx context.Context) ([]string, error) {
	var files []string
	return files, c.decode(ctx, http.MethodPost, "/scrub", &files)
}

// Power is Cloud.Power.
func (c *Client) Power(ctx context.Context, vm, state string) error {
	_, err := c.text(ctx, http.MethodPost, "/power", url.Values{"vm": {vm}, "state": {state}}, nil)
	return err
}

// DeleteVApp is Cloud.DeleteVApp.
func (c *Client) DeleteVApp(ctx context.Context, vapp string) error {
	_, err := c.text(ctx, http.MethodDelete, "/vapp", url.Values{"vapp": {vapp}}, nil)
	return err
}

// Write writes all bytes of content to a disk, from offset on, and returns
// how many they were.
func (c *Client) Write(ctx context.Context, vm string, disk int, offset int64, content io.Reader) (int64, error) {
	query := diskQuery(vm, disk)
	query.Set("offset", strconv.FormatInt(offset, 10))
	text, err := c.text(ctx, http.MethodPut, "/disk", query, content)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// Read copies length bytes of a disk, from offset on, to w; up to the end
// with a negative length.
func (c *Client) Read(ctx context.Context, vm string, disk int, offset, length int64, w io.Writer) error {
	query := diskQuery(vm, disk)
	query.Set("offset", strconv.FormatInt(offset, 10))
	if length >= 0 {
		query.Set("length", strconv.FormatInt(length, 10))
	}
	response, err := c.do(ctx, http.MethodGet, "/disk", query, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := io.Copy(w, response.Body); err != nil {
		return fmt.Errorf("vm %s: disk %d: read: %w", vm, disk, err)
	}
	return nil
}

// Sum is the SHA-256 of a disk's bytes, in hex.
func (c *Client) Sum(ctx context.Context, vm string, disk int) (string, error) {
	return c.text(ctx, http.MethodGet, "/sum", diskQuery(vm, disk), nil)
}

func diskQuery(vm string, disk int) url.Values {
	return url.Values{"vm": {vm}, "disk": {strconv.Itoa(disk)}}
}

func (c *Client) decode(ctx context.Context, method, path string, into any) error {
	text, err := c.text(ctx, method, path, nil, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

func (c *Client) text(ctx context.Context, method, path string, query url.Values, body io.Reader) (string, error) {
	response, err := c.do(ctx, method, path, query, body)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	var text bytes.Buffer
	_, err = text.ReadFrom(response.Body)
	return text.String(), err
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, body io.Reader) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://vcdsim"+path+"?"+query.Encode(), body)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if errors.Is(err, ErrNotRunning) {
		return nil, fmt.Errorf("%s: %w", c.dir, ErrNotRunning)
	}
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		defer func() { _ = response.Body.Close() }()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			return nil, err
		}
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	return response, nil
}
