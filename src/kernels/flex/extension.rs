use std::fmt::Debug;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use super::Array;

/// A differentiable operation of `N` float tensors. What else it depends on (ids, masks, a seed) are its
/// fields.
pub(crate) trait Kernel<const N: usize>: Debug + Send + Sync + 'static {
    /// The output and, if `tracked`, what [`backward`](Self::backward) needs: clones of inputs and output
    /// share their memory.
    fn forward(&self, inputs: [Array; N], tracked: bool) -> (Array, Vec<Array>);

    /// The gradient of each input that is `needed`, from the gradient of the output.
    fn backward(&self, saved: Vec<Array>, grad: Array, needed: [bool; N]) -> [Option<Array>; N];
}

type Shared<const N: usize> = Arc<dyn Kernel<N>>;

#[backend_extension(Flex, Autodiff)]
pub(crate) trait Fused: Backend {
    fn fused_1(kernel: Shared<1>, a: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_2(kernel: Shared<2>, a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_3(
        kernel: Shared<3>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    fn fused_4(
        kernel: Shared<4>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}

impl Fused for Flex {
    fn fused_1(kernel: Shared<1>, a: FloatTensor<Self>) -> FloatTensor<Self> {
        forward(&*kernel, [a])
    }

    fn fused_2(kernel: Shared<2>, a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        forward(&*kernel, [a, b])
    }

    fn fused_3(
        kernel: Shared<3>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        forward(&*kernel, [a, b, c])
    }

    fn fused_4(
        kernel: Shared<4>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        forward(&*kernel, [a, b, c, d])
    }
}

impl<C: CheckpointStrategy> Fused for Autodiff<Flex, C> {
    fn fused_1(kernel: Shared<1>, a: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, 1>(kernel, [a])
    }

    fn fused_2(kernel: Shared<2>, a: FloatTensor<Self>, b: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, 2>(kernel, [a, b])
    }

    fn fused_3(
        kernel: Shared<3>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, 3>(kernel, [a, b, c])
    }

    fn fused_4(
        kernel: Shared<4>,
        a: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        d: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, 4>(kernel, [a, b, c, d])
    }
}

fn forward<const N: usize>(kernel: &dyn Kernel<N>, inputs: [FloatTensor<Flex>; N]) -> FloatTensor<Flex> {
    kernel.forward(inputs.map(Array::from_tensor), false).0.into_tensor()
}

/// Runs the kernel and enters it into the graph.
fn record<C: CheckpointStrategy, const N: usize>(
    kernel: Shared<N>,
    inputs: [FloatTensor<Autodiff<Flex, C>>; N],
) -> FloatTensor<Autodiff<Flex, C>> {
    let mut nodes = Vec::with_capacity(N);
    let inputs = inputs.map(|input| {
        let (primitive, node) = input.into_parts();
        nodes.push(node);
        primitive
    });
    let nodes: [_; N] = nodes.try_into().unwrap_or_else(|_| unreachable!("one node for each input"));
    match Step.prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(step) => {
            let (output, saved) = kernel.forward(inputs.map(Array::from_tensor), true);
            step.finish((kernel, saved), output.into_tensor())
        }
        OpsKind::UnTracked(step) => step.finish(forward(&*kernel, inputs)),
    }
}

/// The node of any kernel in the graph.
#[derive(Debug)]
struct Step;

impl<const N: usize> Backward<Flex, N> for Step {
    type State = (Shared<N>, Vec<Array>);

    fn backward(self, ops: Ops<Self::State, N>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let grad = Array::from_tensor(gradients.consume::<Flex>(&ops.node));
        let (kernel, saved) = ops.state;
        let needed = ops.parents.each_ref().map(Option::is_some);
        for (parent, grad) in ops.parents.into_iter().zip(kernel.backward(saved, grad, needed)) {
            if let (Some(parent), Some(grad)) = (parent, grad) {
                gradients.register::<Flex>(parent.id, grad.into_tensor());
            }
        }
    }
}

/// The kernel of one tensor; `O` is the rank of the output.
pub(crate) fn apply_1<const A: usize, const O: usize>(kernel: impl Kernel<1>, a: Tensor<A>) -> Tensor<O> {
    Tensor::from_dispatch(Dispatch::fused_1(Arc::new(kernel), a.into_dispatch()))
}

/// The kernel of two tensors.
pub(crate) fn apply_2<const A: usize, const B: usize, const O: usize>(
    kernel: impl Kernel<2>,
    a: Tensor<A>,
    b: Tensor<B>,
) -> Tensor<O> {
    Tensor::from_dispatch(Dispatch::fused_2(Arc::new(kernel), a.into_dispatch(), b.into_dispatch()))
}

/// The kernel of three tensors.
pub(crate) fn apply_3<const A: usize, const B: usize, const C: usize, const O: usize>(
    kernel: impl Kernel<3>,
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
) -> Tensor<O> {
    let (a, b, c) = (a.into_dispatch(), b.into_dispatch(), c.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_3(Arc::new(kernel), a, b, c))
}

/// The kernel of four tensors.
pub(crate) fn apply_4<const A: usize, const B: usize, const C: usize, const D: usize, const O: usize>(
    kernel: impl Kernel<4>,
    a: Tensor<A>,
    b: Tensor<B>,
    c: Tensor<C>,
    d: Tensor<D>,
) -> Tensor<O> {
    let (a, b, c, d) = (a.into_dispatch(), b.into_dispatch(), c.into_dispatch(), d.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_4(Arc::new(kernel), a, b, c, d))
}
