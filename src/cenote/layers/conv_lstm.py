"""LSTM whose products are convolutions: for films and other sequences of pictures."""

from __future__ import annotations

from typing import Any

import jax

from ..kernels.convolution import conv
from ..kernels.recurrence import conv_lstm
from .cells import _LSTM, _Cell
from .check import channels_last, padding, positive, rank
from .recurrent import _Recurrent

__all__ = ["ConvLSTM1D", "ConvLSTM1DCell", "ConvLSTM2D", "ConvLSTM2DCell", "ConvLSTM3D", "ConvLSTM3DCell"]


class _ConvRule(_LSTM):
    """The rule of LSTM with convolutions; ``space`` is the number of axes of one picture."""

    counted = "filters"
    space = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | tuple[int, ...],
        strides: int | tuple[int, ...] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | tuple[int, ...] = 1,
        activation: Any = "tanh",
        recurrent_activation: Any = "sigmoid",
        use_bias: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(filters, activation, recurrent_activation, use_bias, **options)
        channels_last(self, data_format)
        self.filters = self.units
        self.kernel_size = self.window = self._sizes("kernel_size", kernel_size)
        self.strides = self._sizes("strides", strides)
        self.padding = _padding(self, padding)
        self.dilation_rate = self._sizes("dilation_rate", dilation_rate)
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ValueError(
                f"{type(self).__name__} takes strides or dilation_rate, not both: got {self.strides}, {self.dilation_rate}"
            )

    def _sizes(self, name: str, value: Any) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, (tuple, list)) else (value,) * self.space
        if len(values) != self.space:
            words = {1: "a whole number", 2: "a whole number or two of them", 3: "a whole number or three of them"}
            raise ValueError(f"{type(self).__name__} needs {name} to be {words[self.space]}, got {value!r}")
        return tuple(positive(self, name, v) for v in values)

    def _state_shape(self, x: tuple[int, ...]) -> tuple[int, ...]:
        for size, k, d in zip(x[1:-1], self.kernel_size, self.dilation_rate, strict=True):
            if self.padding == "valid" and size < (k - 1) * d + 1:
                raise ValueError(
                    f"{type(self).__name__} with a kernel of {self.kernel_size} finds no room in a picture of {x[1:-1]}: use "
                    f"padding='same', or fewer pooling layers before it"
                )
        each = zip(x[1:-1], self.kernel_size, self.strides, self.dilation_rate, strict=True)
        space = (-(-(n if self.padding == "same" else n - (k - 1) * d) // s) for n, k, s, d in each)
        return (x[0], *space, self.filters)

    def _of_input(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return conv(x, kernel, strides=self.strides, padding=self.padding, dilation=self.dilation_rate)

    def _of_state(self, h: jax.Array, recurrent: jax.Array) -> jax.Array:
        return conv(h, recurrent, padding="same")

    def _fast(self, xp: Any, state: tuple, recurrent: Any, after: Any, mask: Any) -> tuple:
        return conv_lstm(xp, state[0], state[1], recurrent, mask)

    def _draws(self) -> int:
        return self.gates


class _ConvLSTM(_ConvRule, _Recurrent):
    def _check(self, x: jax.Array) -> None:
        axes = f"(batch, time, {_AXES[self.space]}, channel)"
        rank(self, x, self.space + 3, axes, "add a time or a channel axis, e.g. x[..., None]")


_AXES = {1: "place", 2: "height, width", 3: "depth, height, width"}
_padding = padding  # the constructor's argument has the same name


class ConvLSTM1D(_ConvLSTM):
    """`LSTM` over sequences of sequences: ``z = conv(x, kernel) + conv(h, recurrent_kernel) + bias``, then the gates.

    Arguments as in `ConvLSTM2D`. Shapes: (batch, time, place, channel) -> (batch, new place, filter), or with
    ``return_sequences`` (batch, time, new place, filter).
    Source: Shi et al. 2015, arXiv:1506.04214.

    >>> import numpy as np
    >>> ConvLSTM1D(2, 3).build(np.ones((1, 3, 5, 1)))(np.ones((1, 3, 5, 1))).shape
    (1, 3, 2)
    """

    space = 1


class ConvLSTM2D(_ConvLSTM):
    """`LSTM` over films: ``z = conv(x, kernel) + conv(h, recurrent_kernel) + bias``, then the gates as there.

    Args: ``filters``; ``kernel_size``, ``strides``, ``padding`` ("valid" or "same") and ``dilation_rate`` of the convolution of
    the input (that of the state keeps its size); the rest as in `LSTM`. Dropout draws for each gate apart, as in Keras.
    Shapes: (batch, time, height, width, channel) -> (batch, new height, new width, filter), or with ``return_sequences``
    (batch, time, new height, new width, filter); kernel (height, width, channel, 4 filter), recurrent_kernel (height, width,
    filter, 4 filter), bias (4 filter), gates in the order input, forget, candidate, output.
    Raises: ValueError for strides and dilation together, and for pictures that are smaller than the kernel.
    Source: Shi et al. 2015, arXiv:1506.04214.

    >>> import numpy as np
    >>> ConvLSTM2D(2, 3).build(np.ones((1, 3, 5, 4, 1)))(np.ones((1, 3, 5, 4, 1))).shape
    (1, 3, 2, 2)
    """


class ConvLSTM3D(_ConvLSTM):
    """`LSTM` over sequences of volumes: ``z = conv(x, kernel) + conv(h, recurrent_kernel) + bias``, then the gates.

    Arguments as in `ConvLSTM2D`. Shapes: (batch, time, depth, height, width, channel) -> (batch, new depth, new height, new
    width, filter), or with ``return_sequences`` the same with time as the second axis.
    Source: Shi et al. 2015, arXiv:1506.04214.

    >>> import numpy as np
    >>> ConvLSTM3D(2, 2).build(np.ones((1, 2, 3, 3, 3, 1)))(np.ones((1, 2, 3, 3, 3, 1))).shape
    (1, 2, 2, 2, 2)
    """

    space = 3


class _ConvCell(_ConvRule, _Cell):
    axes = "(batch, ..., channel)"

    @property
    def state_size(self) -> list[int]:
        return [self.filters, self.filters]

    def get_initial_state(self, batch_size: int = 1) -> list:
        raise ValueError(
            f"{type(self).__name__} cannot know the size of its pictures: give it zeros (batch, ..., {self.filters}) as "
            f"states, or run it by layers.RNN(cell), which sees them"
        )


class ConvLSTM1DCell(_ConvCell):
    """One step of `ConvLSTM1D`: x (batch, place, channel), states [h, c] (batch, new place, filter) -> (h, [h, c]).

    >>> import numpy as np
    >>> from cenote import layers
    >>> layers.RNN(ConvLSTM1DCell(2, 3)).build(np.ones((1, 3, 5, 1)))(np.ones((1, 3, 5, 1))).shape
    (1, 3, 2)
    """

    space = 1


class ConvLSTM2DCell(_ConvCell):
    """One step of `ConvLSTM2D`: x (batch, height, width, channel), states [h, c] (batch, new height, new width, filter).

    >>> import numpy as np
    >>> from cenote import layers
    >>> layers.RNN(ConvLSTM2DCell(2, 3)).build(np.ones((1, 3, 5, 4, 1)))(np.ones((1, 3, 5, 4, 1))).shape
    (1, 3, 2, 2)
    """

    space = 2


class ConvLSTM3DCell(_ConvCell):
    """One step of `ConvLSTM3D`: x (batch, depth, height, width, channel), states [h, c] of the size of the output.

    >>> import numpy as np
    >>> from cenote import layers
    >>> layers.RNN(ConvLSTM3DCell(2, 2)).build(np.ones((1, 2, 3, 3, 3, 1)))(np.ones((1, 2, 3, 3, 3, 1))).shape
    (1, 2, 2, 2, 2)
    """

    space = 3
