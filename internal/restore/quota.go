package restore

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/vappvault/vappvault/internal/vcd"
)

// assignedQuota is the body of /cloudapi/1.0.0/vapps/URN/quotaPolicy, both
// ways.
type assignedQuota struct {
	Policy *struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	} `json:"quotaPolicyReference"`
}

// applyQuota gives the vApp the quota policy that it had, by its name where
// the policy was made anew since. A server without quota policies left no
// document.
func (r *run) applyQuota(ctx context.Context) error {
	raw, ok := r.docs["vcd/quotaPolicy.json"]
	if !ok {
		return nil
	}
	var want, now assignedQuota
	if err := json.Unmarshal(raw, &want); err != nil {
		return fmt.Errorf("document vcd/quotaPolicy.json: %w", err)
	}
	request := vcd.Request{Method: http.MethodGet, Href: "/cloudapi/1.0.0/vapps/" + r.vapp.ID + "/quotaPolicy"}
	answer, err := r.VCD.Do(ctx, request)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(answer.Body, &now); err != nil {
		return fmt.Errorf("quota policy of the vApp: %w", err)
	}
	if want.Policy == nil && now.Policy == nil || want.Policy != nil && now.Policy != nil && want.Policy.Name == now.Policy.Name {
		return nil
	}
	if want.Policy != nil {
		if want.Policy.ID, err = r.quotaPolicy(ctx, want.Policy.ID, want.Policy.Name); err != nil {
			return fmt.Errorf("quota policy %s: %w", want.Policy.Name, err)
		}
		if want.Policy.ID == "" {
			r.warn("", "quota policy "+want.Policy.Name+" is gone: the vApp has none of its own")
			return nil
		}
	}
	request.Method, request.ContentType = http.MethodPut, "application/json"
	if request.Body, err = json.Marshal(want); err != nil {
		return err
	}
	_, err = r.VCD.DoTask(ctx, request)
	return err
}

// quotaPolicy finds a quota policy by id, else by name; "" is none.
func (r *run) quotaPolicy(ctx context.Context, id, name string) (string, error) {
	_, err := r.VCD.Do(ctx, vcd.Request{Method: http.MethodGet, Href: "/cloudapi/1.0.0/quotaPolicies/" + id})
	if err == nil || !vcd.IsNotFound(err) && !vcd.IsForbidden(err) {
		return id, err
	}
	answer, err := r.VCD.Do(ctx, vcd.Request{Method: http.MethodGet, Href: "/cloudapi/1.0.0/quotaPolicies?pageSize=128&filter=" + url.QueryEscape("name=="+name)})
	if err != nil {
		return "", err
	}
	var page struct {
		Values []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"values"`
	}
	if err := json.Unmarshal(answer.Body, &page); err != nil {
		return "", err
	}
	for _, p := range page.Values {
		if p.Name == name {
			return p.ID, nil
		}
	}
	return "", nil
}
