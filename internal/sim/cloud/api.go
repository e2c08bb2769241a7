package cloud

import (
	"context"
	"crypto/tls"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An apiClient acts on a vCD as its administrator would, over its API: what
// is found and changed that way is what any other client finds. But rules of
// faults do not act on its calls, and the log leaves them out.
type apiClient struct {
	base  string
	token string
	http  *http.Client
}

const (
	apiVersion  = "38.1"
	tokenHeader = "X-VMWARE-VCLOUD-ACCESS-TOKEN" //nolint:gosec // the name of a header
)

func (c *Cloud) login(ctx context.Context, s *site) (*apiClient, error) {
	a := &apiClient{
		base: s.director.URL().String(),
		http: &http.Client{Transport: c.faults.Own(&http.Transport{
			TLSClientConfig:   &tls.Config{RootCAs: c.ca.pool(), MinVersion: tls.VersionTLS12},
			DisableKeepAlives: true,
		})},
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+"/cloudapi/1.0.0/sessions/provider", nil)
	if err != nil {
		return nil, err
	}
	request.SetBasicAuth(s.spec.Admin.Name+"@System", s.spec.Admin.Password)
	request.Header.Set("Accept", "application/json;version="+apiVersion)
	response, err := a.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("log in: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if a.token = response.Header.Get(tokenHeader); a.token == "" {
		return nil, fmt.Errorf("log in: %s", response.Status)
	}
	return a, nil
}

func (a *apiClient) logout(ctx context.Context) {
	// A session that is left over ends by itself.
	_, _ = a.do(ctx, http.MethodDelete, "/cloudapi/1.0.0/sessions/current", "", "")
}

// do calls and returns the body of the answer. href is absolute or a path.
func (a *apiClient) do(ctx context.Context, method, href, contentType, body string) ([]byte, error) {
	if strings.HasPrefix(href, "/") {
		href = a.base + href
	}
	request, err := http.NewRequestWithContext(ctx, method, href, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+a.token)
	accept := "application/*+xml;version=" + apiVersion
	if strings.Contains(href, "/cloudapi/") {
		accept = "application/json;version=" + apiVersion
	}
	request.Header.Set("Accept", accept)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := a.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, href, response.Status, apiMessage(answer))
	}
	return answer, err
}

// apiMessage is what an error document says.
func apiMessage(document []byte) string {
	var e struct {
		Message string `xml:"message,attr"`
	}
	if xml.Unmarshal(document, &e) == nil && e.Message != "" {
		return e.Message
	}
	return strings.TrimSpace(string(document))
}

// A record is one answer to a query: its attributes.
type record map[string]string

// query reads all records of one type.
func (a *apiClient) query(ctx context.Context, kind string) ([]record, error) {
	var all []record
	for page := 1; ; page++ {
		values := url.Values{"type": {kind}, "format": {"records"}, "pageSize": {"128"}, "page": {strconv.Itoa(page)}}
		text, err := a.do(ctx, http.MethodGet, "/api/query?"+values.Encode(), "", "")
		if err != nil {
			return nil, fmt.Errorf("query %s: %w", kind, err)
		}
		var answer struct {
			Total   int `xml:"total,attr"`
			Records []struct {
				XMLName    xml.Name
				Attributes []xml.Attr `xml:",any,attr"`
			} `xml:",any"`
		}
		if err := xml.Unmarshal(text, &answer); err != nil {
			return nil, fmt.Errorf("query %s: %w", kind, err)
		}
		found := 0
		for _, r := range answer.Records {
			if !strings.HasSuffix(r.XMLName.Local, "Record") {
				continue // links
			}
			found++
			attributes := record{}
			for _, attribute := range r.Attributes {
				attributes[attribute.Name.Local] = attribute.Value
			}
			all = append(all, attributes)
		}
		if found == 0 || len(all) >= answer.Total {
			return all, nil
		}
	}
}

// run posts what starts a task and waits for its end.
func (a *apiClient) run(ctx context.Context, href, contentType, body string) error {
	return a.task(ctx, http.MethodPost, href, contentType, body)
}

// task starts a task and waits for its end.
func (a *apiClient) task(ctx context.Context, method, href, contentType, body string) error {
	text, err := a.do(ctx, method, href, contentType, body)
	if err != nil {
		return err
	}
	for {
		var task struct {
			Href   string `xml:"href,attr"`
			Status string `xml:"status,attr"`
			Error  *struct {
				Message string `xml:"message,attr"`
			} `xml:"Error"`
		}
		if err := xml.Unmarshal(text, &task); err != nil {
			return fmt.Errorf("task: %w", err)
		}
		switch task.Status {
		case "success":
			return nil
		case "queued", "preRunning", "running":
		default:
			if task.Error != nil {
				return errors.New(task.Error.Message)
			}
			return fmt.Errorf("task: %s", task.Status)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		if text, err = a.do(ctx, http.MethodGet, task.Href, "", ""); err != nil {
			return fmt.Errorf("task: %w", err)
		}
	}
}
