"""Provides AdamW as ELECTRA uses it: warm-up, clipping, layer-wise decay.

Differences from `keras.optimizers.AdamW`: gradients are clipped by the norm of
the *global* gradient (after it is summed over replicas, and with duplicate rows
of sparse gradients added up), the moments are not corrected for their bias
by default, and each variable may have its own share of the learning rate, which
also scales its weight decay.
"""

import contextlib
import dataclasses
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from electra_tf.config import resolve
from electra_tf.errors import UserError
from electra_tf.training.precision import FLOAT32, PRODUCTS
from electra_tf.training.settings import OptimizerConfig, TrainConfig

_log = logging.getLogger(__name__)

# LayerNorm scales and offsets, and biases, are not decayed; embeddings are.
NO_DECAY_PATTERNS = ("layer_norm", "LayerNorm", "bias")

Multipliers = Mapping[str, float] | Callable[[str], float]


@keras.saving.register_keras_serializable(package="electra_tf")
class WarmupPolynomialDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Polynomial decay over all steps, times a linear rise over the first.

    `rate(step) = ((peak - end) * (1 - step/total)^power + end)
    * min(1, step/warmup)`, with `step` counted from 0: the very first update
    has learning rate 0 where there is a warm-up. Source: the released ELECTRA
    code.

    Args:
      learning_rate: the peak, before the decay is multiplied in.
      num_train_steps: steps after which the learning rate stays at its end
        value.
      num_warmup_steps: steps of the rise; 0 for none.
      power: 1.0 decays along a straight line.
      end_learning_rate: the learning rate at the end.
    """

    def __init__(
        self,
        learning_rate: float,
        num_train_steps: int,
        num_warmup_steps: int = 0,
        power: float = 1.0,
        end_learning_rate: float = 0.0,
    ):
        super().__init__()
        self.learning_rate = learning_rate
        self.num_train_steps = num_train_steps
        self.num_warmup_steps = num_warmup_steps
        self.power = power
        self.end_learning_rate = end_learning_rate

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the learning rate, float32 scalar, after `step` updates."""
        step = tf.cast(step, tf.float32)
        total = float(max(1, self.num_train_steps))
        left = 1.0 - tf.minimum(step, total) / total
        span = self.learning_rate - self.end_learning_rate
        rate = span * tf.pow(left, self.power) + self.end_learning_rate
        if self.num_warmup_steps > 0:
            rate *= tf.minimum(1.0, step / float(self.num_warmup_steps))
        return rate

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            "learning_rate": self.learning_rate,
            "num_train_steps": self.num_train_steps,
            "num_warmup_steps": self.num_warmup_steps,
            "power": self.power,
            "end_learning_rate": self.end_learning_rate,
        }


@keras.saving.register_keras_serializable(package="electra_tf")
class AdamWeightDecay(keras.optimizers.Optimizer):
    """Adam with decoupled weight decay and clipping by the true global norm.

    Under a `tf.distribute` strategy the gradients are summed over the replicas
    once, before clipping, so the loss of each replica must be divided by the
    global batch (or by the number of replicas if it is a mean). For a variable
    `w` with gradient `g` and rate `r` (the schedule's times the variable's
    multiplier), after `g *= min(1, max_grad_norm / global_norm)`:

        m = beta_1 m + (1 - beta_1) g;  v = beta_2 v + (1 - beta_2) g^2
        w = w - r (m / (sqrt(v) + epsilon) + weight_decay_rate w)

    Slots are variables whose names end in `_m` and `_v`.

    Args:
      learning_rate: a float, or a schedule of the 0-based step.
      weight_decay_rate: see above; 0 for none.
      beta_1: see above.
      beta_2: see above.
      epsilon: see above.
      max_grad_norm: see above; 0 for no clipping.
      bias_correction: multiply `r` by sqrt(1 - beta_2^t) / (1 - beta_1^t) in
        the Adam part, t = step + 1.
      no_decay_patterns: regular expressions; a variable whose path one of them
        matches somewhere is not decayed.
      learning_rate_multipliers: variable path -> share of the learning rate
        (absent: 1), or a function of the path. 0 freezes the variable.
      name: prefix of the slots' paths.
    """

    def __init__(
        self,
        learning_rate: Any = 5e-4,
        weight_decay_rate: float = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-6,
        max_grad_norm: float = 1.0,
        bias_correction: bool = False,
        no_decay_patterns: Sequence[str] = NO_DECAY_PATTERNS,
        learning_rate_multipliers: Multipliers | None = None,
        name: str = "adam_weight_decay",
    ):
        super().__init__(learning_rate=learning_rate, name=name)
        self.weight_decay_rate = weight_decay_rate
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.max_grad_norm = max_grad_norm
        self.bias_correction = bias_correction
        self.no_decay_patterns = tuple(no_decay_patterns)
        self.learning_rate_multipliers = learning_rate_multipliers

    def build(self, variables: Sequence[keras.Variable]) -> None:
        """Creates the slots of `variables`; the first update does it too."""
        if self.built:
            return
        super().build(variables)
        moments = self.add_optimizer_variables(variables, ["m", "v"])
        self._norm = self.add_variable(
            shape=(),
            dtype="float32",
            aggregation="only_first_replica",
            name="global_norm",
        )
        self._slots = _Slots(
            {
                id(variable): _Slot(
                    variable=variable,
                    m=m,
                    v=v,
                    multiplier=self._multiplier(variable.path),
                    decay=self._decay(variable.path),
                )
                for variable, m, v in zip(variables, *moments)
            }
        )

    def exclude_from_weight_decay(
        self,
        var_list: Sequence[keras.Variable] | None = None,
        var_names: Sequence[str] | None = None,
    ) -> None:
        """Excludes more variables from weight decay, before it is built.

        Args:
          var_list: variables.
          var_names: regular expressions, found in variables' names.

        Raises:
          ValueError: the optimizer is built already.
        """
        if self.built:
            raise ValueError(
                "exclude_from_weight_decay: call it before the optimizer is "
                "built"
            )
        self.no_decay_patterns += (
            *(f"^{re.escape(variable.path)}$" for variable in var_list or ()),
            *(f"(?:{name})[^/]*$" for name in var_names or ()),
        )

    def _multiplier(self, path: str) -> float:
        multipliers = self.learning_rate_multipliers
        if multipliers is None:
            return 1.0
        if callable(multipliers):
            return float(multipliers(path))
        return float(multipliers.get(path, 1.0))

    def _decay(self, path: str) -> float:
        skipped = any(re.search(p, path) for p in self.no_decay_patterns)
        return 0.0 if skipped else self.weight_decay_rate

    @property
    def last_global_norm(self) -> keras.Variable:
        """The L2 norm of the last whole gradient before clipping, a scalar."""
        return self._norm

    def apply(
        self,
        grads: Sequence[Any],
        trainable_variables: Sequence[keras.Variable] | None = None,
    ) -> None:
        """Updates the variables from the gradients of this replica's loss.

        Args:
          grads: tensors, IndexedSlices or None, one for each variable.
          trainable_variables: the variables; None means those it was built
            with.

        Raises:
          ValueError: all gradients are None, or a variable is new.
        """
        if not self.built:
            if trainable_variables is None:
                raise ValueError("build the optimizer, or pass the variables")
            self.build(list(trainable_variables))
        if trainable_variables is None:
            slots = list(self._slots.by_variable.values())
        else:
            slots = [self._slots.of(v) for v in trainable_variables]
        missing = [s.variable.path for g, s in zip(grads, slots) if g is None]
        if missing:
            _log.warning("no gradient for: %s", ", ".join(missing))
        slots = [s for g, s in zip(grads, slots) if g is not None]
        # Sums the duplicate rows of sparse gradients. The moments of every row
        # decay each step, so sparse updates would gain nothing.
        summed = [tf.convert_to_tensor(g) for g in grads if g is not None]
        if not summed:
            raise ValueError("no gradient for any variable")

        replica = tf.distribute.get_replica_context()
        if replica is None:
            raise ValueError("apply gradients inside strategy.run")
        if replica.num_replicas_in_sync > 1:
            summed = replica.all_reduce(tf.distribute.ReduceOp.SUM, summed)
        unscale = 1.0 / (self.loss_scale_factor or 1.0)
        norm = unscale * tf.linalg.global_norm(
            [tf.cast(g, tf.float32) for g in summed]
        )
        scale = unscale * self._clip_factor(norm)
        rate = tf.cast(self.learning_rate, tf.float32)
        step = tf.cast(self.iterations.value, tf.float32) + 1.0

        def update_all(strategy: tf.distribute.Strategy, *args: Any) -> None:
            summed, scale, rate, step, norm = args
            strategy.extended.update(
                self._norm.value, _assign, args=(norm,), group=False
            )
            for gradient, slot in zip(summed, slots):
                strategy.extended.update(
                    slot.variable.value,
                    self._update,
                    args=(gradient, slot, scale, rate, step),
                    group=False,
                )

        # Nothing changes before the gradient exists: otherwise decay and
        # counter would run ahead of a step that fails as the data has ended.
        with tf.control_dependencies([norm]):
            rate, step = tf.identity(rate), tf.identity(step)
            replica.merge_call(
                update_all, args=(summed, scale, rate, step, norm)
            )
            self.iterations.assign_add(1)

    def _clip_factor(self, norm: tf.Tensor) -> tf.Tensor:
        if self.max_grad_norm <= 0:
            return tf.ones_like(norm)
        return self.max_grad_norm / tf.maximum(norm, self.max_grad_norm)

    def _update(
        self,
        variable: tf.Variable,
        gradient: tf.Tensor,
        slot: "_Slot",
        scale: tf.Tensor,
        rate: tf.Tensor,
        step: tf.Tensor,
    ) -> None:
        """Updates one copy of a variable, in few passes over memory."""
        if slot.multiplier == 0.0:
            return
        dtype = variable.dtype
        rate = rate * slot.multiplier
        if slot.decay:
            # The Adam part does not read the weight, so the order is free.
            variable.assign_sub(variable * tf.cast(rate * slot.decay, dtype))
        # ResourceApplyAdam multiplies the learning rate by the root of 1 -
        # beta2_power and divides it by 1 - beta1_power: powers of 0 switch its
        # correction off.
        zero = tf.zeros([], dtype)
        corrected = self.bias_correction
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=slot.m.value.handle,
            v=slot.v.value.handle,
            beta1_power=tf.cast(self.beta_1**step, dtype)
            if corrected
            else zero,
            beta2_power=tf.cast(self.beta_2**step, dtype)
            if corrected
            else zero,
            lr=tf.cast(rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype) * tf.cast(scale, dtype),
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; multipliers as mapping by path.

        Raises:
          ValueError: the multipliers are a function and not resolved yet.
        """
        multipliers = self.learning_rate_multipliers
        if callable(multipliers):
            if not self.built:
                raise ValueError("build the optimizer before serializing it")
            multipliers = {
                slot.variable.path: slot.multiplier
                for slot in self._slots.by_variable.values()
            }
        return {
            "learning_rate": super().get_config()["learning_rate"],
            "weight_decay_rate": self.weight_decay_rate,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "max_grad_norm": self.max_grad_norm,
            "bias_correction": self.bias_correction,
            "no_decay_patterns": list(self.no_decay_patterns),
            "learning_rate_multipliers": multipliers,
            "name": self.name,
        }


def _assign(variable: tf.Variable, value: tf.Tensor) -> None:
    variable.assign(value)


@dataclasses.dataclass(frozen=True, eq=False)
class _Slot:
    """A trained variable, its moments, and how it is updated."""

    variable: keras.Variable
    m: keras.Variable
    v: keras.Variable
    multiplier: float  # share of the learning rate
    decay: float  # weight decay rate


class _Slots:
    """The slots of all variables; opaque to Keras, which tracks containers."""

    def __init__(self, by_variable: dict[int, _Slot]):
        self.by_variable = by_variable  # keyed by id(), as Keras keys it

    def of(self, variable: keras.Variable) -> _Slot:
        if id(variable) not in self.by_variable:
            raise ValueError(f"not built for variable {variable.path}")
        return self.by_variable[id(variable)]


def make_optimizer(
    config: OptimizerConfig | Mapping[str, Any] | None = None,
    num_train_steps: int | None = None,
    *,
    learning_rate_multipliers: Multipliers | None = None,
    no_decay_patterns: Sequence[str] = NO_DECAY_PATTERNS,
) -> AdamWeightDecay:
    """Makes the optimizer that `config` describes, in `strategy.scope()`.

    Args:
      config: settings, or a mapping with changes to the defaults;
        `layerwise_lr_decay` is for the caller, who knows the layers and passes
        the factors as `learning_rate_multipliers`.
      num_train_steps: length of the schedule in updates; None takes the one of
        a `TrainConfig`.
      learning_rate_multipliers: see `AdamWeightDecay`.
      no_decay_patterns: see `AdamWeightDecay`.

    Raises:
      UserError: a setting is unknown, a value is out of bounds, or there is no
        length.
    """
    if not isinstance(config, OptimizerConfig):
        config = resolve(OptimizerConfig, config)
    if num_train_steps is None:
        if not isinstance(config, TrainConfig):
            raise UserError("num_train_steps: say how long the schedule is")
        num_train_steps = config.num_train_steps
    if config.num_warmup_steps > num_train_steps:
        _log.warning(
            "num_warmup_steps is %d, and the run has %d steps: the learning "
            "rate never reaches %g; set fewer",
            config.num_warmup_steps,
            num_train_steps,
            config.learning_rate,
        )
    schedule = WarmupPolynomialDecay(
        config.learning_rate,
        num_train_steps,
        config.num_warmup_steps,
        config.lr_decay_power,
        config.end_learning_rate,
    )
    return AdamWeightDecay(
        schedule,
        weight_decay_rate=config.weight_decay_rate,
        beta_1=config.beta_1,
        beta_2=config.beta_2,
        epsilon=config.epsilon,
        max_grad_norm=config.max_grad_norm,
        bias_correction=config.bias_correction,
        no_decay_patterns=no_decay_patterns,
        learning_rate_multipliers=learning_rate_multipliers,
    )


FLOAT16 = "mixed_float16"


@contextlib.contextmanager
def precision_policy(name: str) -> Iterator[None]:
    """Sets the Keras policy of models made inside; weights stay float32.

    Args:
      name: "float32", "mixed_bfloat16" or "mixed_float16"; with
        "bfloat16_products" models are float32.
    """
    before = keras.config.dtype_policy()
    # Not a policy of Keras: such models are float32, see `models.products`.
    keras.config.set_dtype_policy(FLOAT32 if name == PRODUCTS else name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def loss_scaled(
    optimizer: keras.optimizers.Optimizer, name: str
) -> keras.optimizers.Optimizer:
    """Returns the optimizer for a policy, with loss scaling in float16.

    Small gradients underflow to zero in float16, so the loss is scaled up. The
    scale doubles after 2,000 good steps, and halves after a bad one, which is
    skipped.

    Args:
      optimizer: the optimizer for float32.
      name: see `precision_policy`.
    """
    if name != FLOAT16:
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale")
