// Command metrics-server is upstream's metrics-server with the API server library of this module's Kubernetes.
//
// Upstream's own main compiles only against the Kubernetes it was released with, and a module of its own would
// compile that whole library a second time (139 s on two cores). The scraper, the storage and the API are
// upstream's packages; what stands here is their start-up.
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/cli"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"sigs.k8s.io/metrics-server/pkg/api"
	"sigs.k8s.io/metrics-server/pkg/scraper/client"
	"sigs.k8s.io/metrics-server/pkg/server"
)

type options struct {
	kubeconfig       string
	kubeletAuthority string
	resolution       time.Duration
	scrapeTimeout    time.Duration
	serving          *genericoptions.SecureServingOptionsWithLoopback
	authentication   *genericoptions.DelegatingAuthenticationOptions
	authorization    *genericoptions.DelegatingAuthorizationOptions
}

func main() {
	o := options{
		serving:        genericoptions.NewSecureServingOptions().WithLoopback(),
		authentication: genericoptions.NewDelegatingAuthenticationOptions(),
		authorization:  genericoptions.NewDelegatingAuthorizationOptions(),
	}
	command := &cobra.Command{
		Use:  "metrics-server",
		RunE: func(*cobra.Command, []string) error { return o.run(genericapiserver.SetupSignalHandler()) },
	}
	flags := command.Flags()
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "How to reach the API server and the kubelets.")
	flags.StringVar(&o.kubeletAuthority, "kubelet-certificate-authority", "", "Whose signature the kubelets' certificates carry.")
	flags.DurationVar(&o.resolution, "metric-resolution", 15*time.Second, "How often the kubelets are asked.")
	flags.DurationVar(&o.scrapeTimeout, "kubelet-request-timeout", 5*time.Second, "How long one kubelet may take; less than the resolution.")
	o.serving.AddFlags(flags)
	o.authentication.AddFlags(flags)
	o.authorization.AddFlags(flags)
	os.Exit(cli.Run(command))
}

func (o *options) run(stop <-chan struct{}) error {
	apiserver, err := o.apiserver()
	if err != nil {
		return fmt.Errorf("the API's server: %w", err)
	}
	connection, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("the kubeconfig %s: %w", o.kubeconfig, err)
	}
	connection.ContentType = "application/vnd.kubernetes.protobuf"
	config := server.Config{
		Apiserver:        apiserver,
		Rest:             connection,
		Kubelet:          o.kubelet(connection),
		MetricResolution: o.resolution,
		ScrapeTimeout:    o.scrapeTimeout,
	}
	metrics, err := config.Complete()
	if err != nil {
		return err
	}
	return metrics.RunUntil(stop)
}

func (o *options) apiserver() (*genericapiserver.Config, error) {
	config := genericapiserver.NewConfig(api.Codecs)
	config.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	if err := o.serving.ApplyTo(&config.SecureServing, &config.LoopbackClientConfig); err != nil {
		return nil, err
	}
	if err := o.authentication.ApplyTo(&config.Authentication, config.SecureServing, nil); err != nil {
		return nil, err
	}
	if err := o.authorization.ApplyTo(&config.Authorization); err != nil {
		return nil, err
	}
	// metrics-server's own definitions carry the names of an older Kubernetes; Kubernetes has the same types.
	namer := openapinamer.NewDefinitionNamer(api.Scheme)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(generatedopenapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(generatedopenapi.GetOpenAPIDefinitions, namer)
	return config, nil
}

func (o *options) kubelet(connection *rest.Config) *client.KubeletClientConfig {
	config := &client.KubeletClientConfig{
		Scheme:              "https",
		AddressTypePriority: []corev1.NodeAddressType{corev1.NodeInternalIP},
		UseNodeStatusPort:   true,
		Client:              *rest.CopyConfig(connection),
	}
	config.Client.TLSClientConfig.CAFile = o.kubeletAuthority
	config.Client.TLSClientConfig.CAData = nil
	return config
}
